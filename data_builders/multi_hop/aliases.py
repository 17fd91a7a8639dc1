"""2WikiMultihopQA's file of entity aliases."""

from __future__ import annotations

from os import PathLike

import orjson

from data_builders.records import read_records


class EntityAliases:
    """
    Other names of entities by their Wikidata id, as in 2WikiMultihopQA's `id_aliases.json`.

    Args:
        path (`str` or `PathLike`):
            JSON lines `{"Q_id": "Q42", "aliases": [...], "demonyms": [...]}`.

    Raises:
        `RecordError`: If the file is malformed.
        `ValueError`: If it holds no entity.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self._names: dict[str, bytes] = {}
        for located in read_records(path):
            names = [*(located.record.get("aliases") or []), *(located.record.get("demonyms") or [])]
            if located.record.get("Q_id") and names:
                self._names[located.record["Q_id"]] = orjson.dumps(names)
        if not self._names:
            raise ValueError(
                "the file of aliases holds no record {Q_id, aliases}; give 2WikiMultihopQA's id_aliases.json."
            )

    def __call__(self, entity_id: object) -> list[str]:
        """The other names of an entity; none if its id is unknown."""
        names = self._names.get(entity_id) if isinstance(entity_id, str) else None
        return orjson.loads(names) if names else []
