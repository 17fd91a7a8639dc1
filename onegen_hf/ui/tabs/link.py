"""Entity linking: the text with its mentions marked, and a table of their entities."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import gradio as gr

from ...index import PassageIndex
from ..html import render
from ..streams import MODEL, shown_errors

_DESCRIPTION = 200


def link_tab(load_linker: Callable[[], Any], texts: Sequence[str] = ()) -> None:
    """
    Args:
        load_linker (`Callable`): Returns an [`OneGenEntityLinkingPipeline`].
        texts (`Sequence[str]`, *optional*): Examples.
    """
    loaded = cache(load_linker)

    def link(text: str) -> str:
        with shown_errors():
            linker = loaded()
            return linked_html(text, linker(text), linker.index)

    text = gr.Textbox(label="Text", lines=4, max_lines=20, elem_id="link-text")
    run = gr.Button("Link", variant="primary", elem_id="link-button")
    shown = gr.HTML(elem_id="link-result")
    if texts:
        gr.Examples([[example] for example in texts], text, label="Texts to try")
    run.click(link, text, shown, **MODEL)


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
