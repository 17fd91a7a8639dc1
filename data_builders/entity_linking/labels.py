"""The labels of a benchmark article, in whichever variant of ELEVANT's layout they come."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from data_builders.errors import RecordError

# ELEVANT's own words for entities that have no entry in the knowledge base; older files number them ("Unknown3").
_NIL = re.compile(r"<?(?:NIL|NME|NULL|NONE|UNKNOWN)\d*>?|--NME--|", re.IGNORECASE)
_NO_MAPPING = re.compile(r"<?(?:NO_MAPPING|UnknownNoMapping)>?", re.IGNORECASE)
_LITERALS = {"DATETIME": "datetime", "QUANTITY": "quantity"}
_UNNAMED = re.compile(r"|unknown.*|--NME--|<NIL>|<NO_MAPPING>", re.IGNORECASE)


class Label(NamedTuple):
    """
    One gold label.

    Args:
        number (`int`): Its place in the record.
        start (`int`): First character of the mention. Characters are Unicode code points, as in Python.
        end (`int`): One past its last character.
        entity_id (`str`): Empty where there is none.
        name (`str`): Empty where it is not known.
        type (`str`): As in the source.
        coref (`bool`): A pronoun or another expression that is no name.
        optional (`bool`): ELEVANT doesn't count it as missed.
        key (`str`): The label's own id, which `parent` refers to.
        parent (`str`, *optional*): The label that this one is part of.
        other_ids (`tuple[str, ...]`): The entity's ids in other knowledge bases, best first.
    """

    number: int
    start: int
    end: int
    entity_id: str
    name: str = ""
    type: str = ""
    coref: bool = False
    optional: bool = False
    key: str = ""
    parent: str | None = None
    other_ids: tuple[str, ...] = ()

    def as_gold(self, text: str) -> dict[str, Any]:
        """The label as it stands in an example's `meta`, in ELEVANT's words."""
        gold: dict[str, Any] = {
            "span": [self.start, self.end],
            "mention": text[self.start : self.end] if 0 <= self.start < self.end <= len(text) else "",
            "entity_id": self.entity_id,
            "name": self.name,
            "type": self.type,
        }
        if self.key:
            gold["id"] = self.key
        if self.parent is not None:
            gold["parent"] = self.parent
        gold.update({flag: True for flag in ("coref", "optional") if getattr(self, flag)})
        return gold


def read_labels(record: Mapping[str, Any]) -> list[Label]:
    """
    Read the labels of an article.

    Known variants: `labels` with `span` and `entity_id` (ELEVANT's own), with `start_char`, `end_char` and
    `entity_reference` (its simple JSON lines), and pairs `[[start, end], entity_id]` (its first files). Everything
    but the span may be missing.

    Args:
        record (`Mapping[str, Any]`): The article.

    Returns:
        `list[Label]`: In file order; spans are not checked yet.

    Raises:
        `RecordError`: If `labels` is missing or a label has no span of two whole numbers.
    """
    found = record.get("labels")
    if not isinstance(found, list):
        raise RecordError("missing_field", "the field `labels` is missing or no list; add it (it may be empty).")
    return [_read_label(label, number) for number, label in enumerate(found)]


def _read_label(label: Any, number: int) -> Label:
    if isinstance(label, (list, tuple)) and len(label) == 2:
        label = {"span": label[0], "entity_id": label[1]}
    if not isinstance(label, Mapping):
        raise RecordError("malformed_field", f"`labels[{number}]` must be an object with `span` and `entity_id`.")
    span = label.get("span", [label.get("start_char"), label.get("end_char")])
    if not isinstance(span, (list, tuple)) or [type(value) for value in span] != [int, int]:
        raise RecordError("malformed_field", f"`labels[{number}].span` must be [start, end], got {span!r}.")
    entity_id = label.get("entity_id", label.get("entity_reference"))
    key, parent, kind = label.get("id"), label.get("parent"), label.get("type")
    return Label(
        number,
        span[0],
        span[1],
        "" if entity_id is None else str(entity_id).strip(),
        name=str(label.get("name") or "").strip(),
        type="|".join(map(str, kind)) if isinstance(kind, list) else str(kind or ""),
        # A kind of coreference ("PRONOUN") in some versions, a flag in others.
        coref=bool(label.get("coref")),
        optional=bool(label.get("optional")),
        key="" if key is None else str(key),
        parent=None if parent is None else str(parent),
        other_ids=tuple(map(str, label.get("other_ids") or ())),
    )


def unlinkable_reason(label: Label) -> str | None:
    """
    Say why a label names no entity of a knowledge base.

    Returns:
        `str | None`: `"nil"`, `"no_mapping"`, `"datetime"`, `"quantity"`, or `None` for one that may be linked.
    """
    for word in (label.entity_id.strip("<>").upper(), label.type.upper()):
        if word in _LITERALS:
            return _LITERALS[word]
    if _NO_MAPPING.fullmatch(label.entity_id) or label.name == "UnknownNoMapping":
        return "no_mapping"
    return "nil" if _NIL.fullmatch(label.entity_id) else None


def entity_name(label: Label, text: str) -> str:
    """The entity's name, or the mention where the source has none (`Unknown`)."""
    return text[label.start : label.end].strip() if _UNNAMED.fullmatch(label.name) else label.name
