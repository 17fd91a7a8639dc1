"""Entity linking: the text with its mentions marked, and a table of their entities."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import gradio as gr

from ..linked_text import linked_html
from ..streams import MODEL, shown_errors


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
