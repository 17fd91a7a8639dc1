"""Linked mentions as one self-contained HTML page: no scripts, no fonts, no other files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ...pages import render


def mention_page(
    results: Sequence[tuple[str, Sequence[Mapping[str, Any]]]],
    title: str = "Linked mentions",
    link_token: str = "[LK]",
    descriptions: Mapping[str, str] | None = None,
) -> str:
    """
    Show texts with their mentions marked, and a table of all mentions. Hovering over a mention, or focusing it with
    the keyboard, shows its candidates and their scores. All content is escaped.

    Args:
        results (`Sequence[tuple[str, Sequence[Mapping]]]`): Each text with its mentions, as
            `pipeline("onegen-entity-linking")` returns them.
        title (`str`, *optional*, defaults to `"Linked mentions"`)
        link_token (`str`, *optional*, defaults to `"[LK]"`): Shown where the model emitted it.
        descriptions (`Mapping[str, str]`, *optional*): Id of an entity → its description, for the table.

    Returns:
        `str`: HTML 5; write it as UTF-8.
    """
    mentions = [mention for _, of_text in results for mention in of_text]
    known = descriptions or {}
    linked = [mention for mention in mentions if "entity_id" in mention]
    return render(
        __package__ or "",
        "page.html.jinja",
        title,
        link_token=link_token,
        texts=[list(_pieces(place, text, of_text)) for place, (text, of_text) in enumerate(results)],
        mentions=len(mentions),
        nil=sum(mention.get("entity_id") == "NIL" for mention in mentions),
        rows=[{**mention, "description": known.get(mention["entity_id"], "")} for mention in linked],
        described=any(mention["entity_id"] in known for mention in linked),
    )


def _pieces(
    place: int, text: str, mentions: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[str, Mapping[str, Any] | None, str]]:
    """Each piece of a text with the mention after it and the id of that mention; the last piece has no mention."""
    position = 0
    for number, mention in enumerate(mentions):
        yield text[position : mention["start"]], {"candidates": (), **mention}, f"m{place}-{number}"
        position = mention["end"]
    yield text[position:], None, ""
