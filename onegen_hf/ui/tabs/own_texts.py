"""Texts of one's own: pasted or uploaded, indexed at once, then asked about."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from ...data.passages import PassageEncoder
from ...index import PassageIndex
from ..html import render
from ..index_pages import described
from ..own_passages import SUFFIXES, passages_of
from ..streams import MODEL, shown_errors, traces

_SHOWN = 20
_BATCH_SIZE = 8  # so that the progress moves every second or two on a CPU


def own_texts_tab(rag: Any) -> None:
    """
    Args:
        rag ([`OneGenRagPipeline`]): Its index stays as it is; each visitor has an index of their own.
    """

    def build(
        text: str,
        files: list[str] | None,
        progress: gr.Progress = gr.Progress(track_tqdm=True),  # noqa: B008
    ) -> tuple[Any, str, str]:
        with shown_errors():
            passages = passages_of(text or "", [Path(file) for file in files or ()])
            encoder = PassageEncoder(rag.tokenizer, rag.model.onegen_config)
            index = PassageIndex.build(
                rag.model, rag.tokenizer, passages, max_tokens_per_passage=encoder.max_embedded, batch_size=_BATCH_SIZE
            )
        own = copy.copy(rag)  # the same model; only what it searches differs
        own.index = index
        note = f"{len(passages)} texts became {len(index)} passages, ready to be asked about."
        first = [described(index.passages[row]) for row in range(min(_SHOWN, len(index)))]
        shown = render("results.html.jinja", passages=first, note=f"The first {len(first)} of {len(index)}")
        return own, render("results.html.jinja", passages=[], note=note), shown

    def answer(own: Any, question: str, k: float) -> Iterator[str]:
        if own is None:
            raise gr.Error("There is no text yet: paste or upload one and press “Index”.", print_exception=False)
        for trace in traces(own, question, k=int(k), retrieval="always"):
            yield trace.html()

    state = gr.State(None)
    with gr.Row():
        text = gr.Textbox(
            label="Paste text", lines=8, max_lines=20, elem_id="own-text",
            info="An empty line begins a new passage; its first line may be a title: “# Fern Bay”.",
        )  # fmt: skip
        files = gr.File(
            label="Or upload text, JSON, CSV, Parquet", file_count="multiple", file_types=list(SUFFIXES),
            elem_id="own-files", height=220,
        )  # fmt: skip
    index = gr.Button("Index", variant="primary", elem_id="own-index")
    status = gr.HTML(elem_id="own-status", min_height=50)
    with gr.Row():
        question = gr.Textbox(label="Question about these texts", elem_id="own-question", scale=3, min_width=300)
        k = gr.Slider(1, 10, 1, step=1, label="Passages per retrieval", scale=1, min_width=200)
    with gr.Row():
        ask = gr.Button("Ask", elem_id="own-ask")
        stop = gr.Button("Stop", min_width=100, scale=0)
    answered = gr.HTML(elem_id="own-answer")
    with gr.Accordion("Passages", open=False):
        indexed = gr.HTML(elem_id="own-passages")
    index.click(build, [text, files], [state, status, indexed], show_progress_on=status, **MODEL)
    running = gr.on(
        [ask.click, question.submit], answer, [state, question, k], answered, show_progress="hidden", **MODEL
    )
    stop.click(None, cancels=running)
