"""A linked text with its mentions marked, and a table of their entities."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..index import PassageIndex
from .html import render

_DESCRIPTION = 200


def linked_html(text: str, mentions: Sequence[Mapping[str, Any]], index: PassageIndex) -> str:
    """
    A linked text as HTML; all text is escaped.

    Args:
        text (`str`)
        mentions (`Sequence[Mapping]`): As `pipeline("onegen-entity-linking")` returns them.
        index ([`PassageIndex`]): The catalogue, with the descriptions.
    """
    numbered = [
        {**mention, "number": number, "description": _description(index, mention["entity_id"])}
        for number, mention in enumerate(mentions, start=1)
    ]
    return render("mentions.html.jinja", pieces=list(_pieces(text, numbered)), mentions=numbered)


def _pieces(text: str, mentions: Sequence[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any] | None]]:
    position = 0
    for mention in mentions:
        yield text[position : mention["start"]], mention
        position = mention["end"]
    yield text[position:], None


def _description(index: PassageIndex, entity_id: str) -> str:
    passage = index.get(entity_id)
    if passage is None:
        return ""
    return passage.text if len(passage.text) <= _DESCRIPTION else f"{passage.text[:_DESCRIPTION].rstrip()} …"
