"""`AliasTable`: which entities each surface form refers to, and how often."""

from __future__ import annotations

import json
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from data_builders.entity_linking.annotation import MENTION_CLOSE, MENTION_OPEN

from ..checks import instance, integer, text
from ..files import atomic_file

SCHEMA = pa.schema([("surface", pa.string()), ("entity_id", pa.string()), ("count", pa.int64())])
_MENTION = re.compile(f"{re.escape(MENTION_OPEN)}(.*?){re.escape(MENTION_CLOSE)}", re.DOTALL)
_SUFFIXES = (".json", ".parquet")


def normalize_surface(surface: str) -> str:
    """The lookup key of a surface form, which ignores case, white space and Unicode compatibility variants."""
    return " ".join(unicodedata.normalize("NFKC", surface).casefold().split())


class AliasTable:
    """
    Counts how often each surface form refers to each entity.

    The prior of an entity given a surface is its share of the surface's counts, the "commonness" of the entity-linking
    literature (Milne and Witten, 2008).

    Example:

    ```python
    >>> table = AliasTable()
    >>> table.add("Fern Bay", "Q2", 3)
    >>> table.add("fern  bay", "Q9")
    >>> table.priors("FERN BAY")
    {'Q2': 0.75, 'Q9': 0.25}
    ```
    """

    def __init__(self) -> None:
        self._counts: dict[str, dict[str, int]] = {}

    def __len__(self) -> int:
        """Number of surface forms."""
        return len(self._counts)

    def __iter__(self) -> Iterator[tuple[str, str, int]]:
        """Surface, entity and count, in the order in which they were added."""
        return ((surface, entity, n) for surface, entities in self._counts.items() for entity, n in entities.items())

    @property
    def entity_ids(self) -> set[str]:
        """All entities that have a surface form."""
        return {entity for entities in self._counts.values() for entity in entities}

    def priors(self, surface: str) -> dict[str, float]:
        """
        The entities that a surface form refers to, most frequent first.

        Args:
            surface (`str`): Normalized with [`normalize_surface`] before the lookup.

        Returns:
            `dict[str, float]`: Entity → its share; they add up to 1. Empty for an unknown surface.
        """
        entities = self._counts.get(normalize_surface(surface), {})
        total = sum(entities.values())
        return {entity: n / total for entity, n in sorted(entities.items(), key=lambda pair: -pair[1])}

    def add(self, surface: str, entity_id: str, count: int = 1) -> None:
        """
        Count a reference of a surface form to an entity. A surface form without visible characters is ignored.

        Raises:
            `TypeError` or `ValueError`: If `count` is not an integer of at least 1, `entity_id` is empty, or a text
                can't be written as UTF-8.
        """
        text(empty=True)("surface", surface)
        text()("entity_id", entity_id)
        count = integer(least=1)("count", count)
        normalized = normalize_surface(surface)
        if normalized:
            entities = self._counts.setdefault(normalized, {})
            entities[entity_id] = entities.get(entity_id, 0) + count

    def add_examples(self, examples: Iterable[Mapping[str, Any]]) -> None:
        """
        Count the linked mentions of training examples.

        Args:
            examples (`datasets.Dataset` or `Iterable[Mapping]`): Rows of the `examples` config, as `onegen-hf build
                entity-linking` makes them. A mention with several positives counts for each.

        Raises:
            `ValueError`: If the number of mentions in an example differs from the number of its lists of positives.
        """
        for number, example in enumerate(examples):
            turns = [message["content"] for message in example["messages"] if message["role"] == "assistant"]
            surfaces = [surface for turn in turns for surface in _MENTION.findall(turn)]
            if len(surfaces) != len(example["positives"]):
                raise ValueError(
                    f"example {example.get('id', number)!r} has {len(surfaces)} mentions in {MENTION_OPEN} tags, but "
                    f"{len(example['positives'])} lists of positives: give examples of entity linking"
                )
            for surface, positives in zip(surfaces, example["positives"], strict=True):
                for reference in positives:
                    self.add(surface, _document(reference))

    def add_documents(self, documents: Iterable[Mapping[str, Any]]) -> None:
        """
        Count every name of an entity once.

        Args:
            documents (`datasets.Dataset` or `Iterable[Mapping]`): Rows of the `documents` config, or records of an
                entity catalogue: `id` or `entity_id`, `title` or `name`, and optionally `aliases`.
        """
        for document in documents:
            entity = document.get("id", document.get("entity_id"))
            names = [document.get("title") or document.get("name") or "", *(document.get("aliases") or ())]
            for name in dict.fromkeys(map(normalize_surface, names)):
                self.add(name, str(entity))

    def save(self, path: str | os.PathLike[str]) -> None:
        """
        Write the table, as Parquet (`surface`, `entity_id`, `count`) or JSON (`{surface: {entity_id: count}}`).

        Raises:
            `ValueError`: If the path does not end in `.parquet` or `.json`.
        """
        path = _checked(path)
        with atomic_file(path) as temporary:
            if path.suffix == ".json":
                temporary.write_text(json.dumps(self._counts, ensure_ascii=False) + "\n", encoding="utf-8")
            else:
                columns: list[Any] = [list(column) for column in zip(*self, strict=True)] or [[], [], []]
                pq.write_table(pa.table(columns, schema=SCHEMA), temporary, compression="zstd")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> AliasTable:
        """
        Read a table written by [`~AliasTable.save`], or one in the same layout.

        Raises:
            `FileNotFoundError`: If the file does not exist.
            `ValueError`: If it is not an alias table.
        """
        path = _checked(path)
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such alias table; write one with `AliasTable.save`")
        table = cls()
        try:
            for surface, entity, count in _read(path):
                table.add(surface, entity, count)
        except (ValueError, TypeError, KeyError, AttributeError, pa.ArrowException) as error:
            raise ValueError(f"{path} is no alias table ({error}): write one with `AliasTable.save`") from error
        return table


def _document(reference: str) -> str:
    document, mark, sentence = reference.rpartition("#")
    return document if mark and sentence.isdigit() else reference


def _checked(path: str | os.PathLike[str]) -> Path:
    checked = Path(instance(str, os.PathLike)("path", path))
    if checked.suffix not in _SUFFIXES:
        raise ValueError(f"{checked}: an alias table ends in one of {_SUFFIXES}")
    return checked


def _read(path: Path) -> Iterator[tuple[str, str, int]]:
    if path.suffix == ".json":
        counts = json.loads(path.read_text(encoding="utf-8"))
        yield from ((surface, entity, n) for surface, entities in counts.items() for entity, n in entities.items())
        return
    table = pq.read_table(path, columns=SCHEMA.names)
    yield from zip(*(table[name].to_pylist() for name in SCHEMA.names), strict=True)
