"""Search the index and leaf through it."""

from __future__ import annotations

from typing import Any

import gradio as gr

from ...index import PassageIndex
from ..html import render
from ..index_pages import PER_PAGE, described, page_of
from ..streams import MODEL, shown_errors


def browse_tab(index: PassageIndex, model: Any, tokenizer: Any) -> None:
    """
    Args:
        index ([`PassageIndex`])
        model ([`OneGenForCausalLM`]): Embeds what is searched for.
        tokenizer (`PreTrainedTokenizerBase`)
    """

    def search(query: str, k: float) -> str:
        with shown_errors():
            passages = index.search_text(query, int(k), model, tokenizer)
        return render("results.html.jinja", passages=passages, note=f"The {len(passages)} best for: {query}")

    def look_up(identifier: str) -> str:
        passage = index.get(identifier.strip())
        if passage is None:
            return render("results.html.jinja", passages=[], note=f"No passage has the id {identifier!r}.")
        return render("results.html.jinja", passages=[described(passage)], note="By its id")

    def page(number: float | None) -> str:
        return page_of(index, int(number or 1))

    pages = -(-len(index) // PER_PAGE)
    gr.HTML(
        f'<p class="onegen note">{len(index)} passages, {index.num_rows} embeddings of dimension {index.dimension}</p>'
    )
    with gr.Row():
        query = gr.Textbox(
            label="Search by meaning",
            placeholder="a film about a ship",
            elem_id="search-query",
            scale=3,
            min_width=300,
        )
        k = gr.Slider(1, 50, 5, step=1, label="Passages", scale=1, min_width=200)
    with gr.Row():
        find = gr.Button("Search", variant="primary", elem_id="search-button")
    with gr.Row():
        identifier = gr.Textbox(label="Passage with the id", elem_id="search-id", min_width=300)
        number = gr.Number(
            1, minimum=1, maximum=pages, step=1, precision=0, label=f"Page, 1 to {pages}", min_width=200
        )
    shown = gr.HTML(page_of(index, 1), elem_id="search-results")
    gr.on([find.click, query.submit], search, [query, k], shown, **MODEL)
    identifier.submit(look_up, identifier, shown)
    number.change(page, number, shown, show_progress="hidden")
