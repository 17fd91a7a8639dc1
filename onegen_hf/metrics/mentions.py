"""`Mention`: a span of a text with the entity it is linked to, in whichever layout it comes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

NIL_IDS = frozenset(
    {"", "NIL", "<NIL>", "NULL", "null", "--NME--", "<NO_MAPPING>", "DATETIME", "QUANTITY", "NoAnnotation"}
)
"""Ids that mean "no entity of the knowledge base" in the public benchmarks; so does every id starting with Unknown."""


class Mention(NamedTuple):
    """
    A linked span.

    Args:
        start (`int`): First character.
        end (`int`): Behind the last character.
        entity_id (`str`, *optional*): `None` if it is linked to no entity of the knowledge base (NIL).
        optional (`bool`, *optional*, defaults to `False`): Gold only: need not be found, see
            [`linking_counts`].
    """

    start: int
    end: int
    entity_id: str | None
    optional: bool = False


def read_mention(
    record: Any, redirects: Mapping[str, str] | None = None, known_ids: Collection[str] | None = None
) -> Mention:
    """
    Bring a mention to one form.

    Args:
        record (`Mention`, `Mapping` or `Sequence`): `{"start", "end", "entity_id"}` (the pipeline's output),
            `{"span": [start, end], "entity_id"}` (ELEVANT's labels) or with `"id"` (ELEVANT's predictions), or a
            triple `(start, end, entity_id)`. A label of ELEVANT's types `QUANTITY` and `DATETIME`, or with `optional`,
            is optional.
        redirects (`Mapping[str, str]`, *optional*): Id → the id that it stands for now. Chains are followed.
        known_ids (`Collection[str]`, *optional*): The ids of the knowledge base; any other one is NIL. By default all
            are, but those of [`NIL_IDS`].

    Raises:
        `ValueError`: If the layout is unknown, or the span is empty or negative.
    """
    optional = False
    if isinstance(record, Mapping):
        start, end = record["span"] if "span" in record else (record.get("start"), record.get("end"))
        # In ELEVANT a label's `id` counts the labels, while a predicted mention has no other id.
        entity_id = record["entity_id"] if "entity_id" in record else record.get("id")
        optional = bool(record.get("optional")) or record.get("type") in ("QUANTITY", "DATETIME")
    elif isinstance(record, Sequence) and not isinstance(record, str) and len(record) in (3, 4):
        start, end, entity_id = record[:3]
        optional = len(record) == 4 and bool(record[3])
    else:
        raise ValueError(f"mention {record!r} must be a mapping with a span, or a triple (start, end, entity_id)")
    if not isinstance(start, int) or not isinstance(end, int) or not 0 <= start < end:
        raise ValueError(f"mention {record!r}: its span must hold at least one character, 0 <= start < end")
    return Mention(start, end, known_entity(entity_id, redirects, known_ids), optional)


def known_entity(
    entity_id: Any, redirects: Mapping[str, str] | None = None, known_ids: Collection[str] | None = None
) -> str | None:
    """The id under which the knowledge base knows an entity, `None` for NIL."""
    seen = set()
    while redirects and entity_id in redirects and entity_id not in seen:
        seen.add(entity_id)
        entity_id = redirects[entity_id]
    if entity_id is None or str(entity_id) in NIL_IDS or str(entity_id).startswith("Unknown"):
        return None
    return str(entity_id) if known_ids is None or entity_id in known_ids else None
