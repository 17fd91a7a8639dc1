"""Linked mentions as one self-contained HTML page: no scripts, no fonts, no other files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from html import escape
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from ...terminal.characters import printable


def mention_page(
    results: Sequence[tuple[str, Sequence[Mapping[str, Any]]]],
    title: str = "Linked mentions",
    link_token: str = "[LK]",
) -> str:
    """
    Show texts with their mentions marked. Hovering over a mention, or focusing it with the keyboard, shows its
    candidates and their scores. All content is escaped.

    Args:
        results (`Sequence[tuple[str, Sequence[Mapping]]]`): Each text with its mentions, as
            `pipeline("onegen-entity-linking")` returns them.
        title (`str`, *optional*, defaults to `"Linked mentions"`)
        link_token (`str`, *optional*, defaults to `"[LK]"`): Shown where the model emitted it.

    Returns:
        `str`: HTML 5; write it as UTF-8.
    """
    mentions = [mention for _, of_text in results for mention in of_text]
    return _template().render(
        title=title,
        link_token=link_token,
        texts=[list(_pieces(place, text, of_text)) for place, (text, of_text) in enumerate(results)],
        mentions=len(mentions),
        nil=sum(mention.get("entity_id") == "NIL" for mention in mentions),
    )


@cache
def _template() -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True)
    environment.filters["printable"] = lambda text: Markup(escape(printable(text)))
    source = files(__package__).joinpath("page.html.jinja").read_text(encoding="utf-8")
    return environment.from_string(source)


def _pieces(
    place: int, text: str, mentions: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[str, Mapping[str, Any] | None, str]]:
    """Each piece of a text with the mention after it and the id of that mention; the last piece has no mention."""
    position = 0
    for number, mention in enumerate(mentions):
        yield text[position : mention["start"]], {"candidates": (), **mention}, f"m{place}-{number}"
        position = mention["end"]
    yield text[position:], None, ""
