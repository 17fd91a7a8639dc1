"""Ask a question and watch the answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import gradio as gr

from ..settings import options_of, settings_controls
from ..streams import MODEL, traces


def ask_tab(rag: Any, questions: Sequence[str] = ()) -> None:
    """
    Args:
        rag ([`OneGenRagPipeline`])
        questions (`Sequence[str]`, *optional*): Examples.
    """

    def answer(question: str, *values: Any) -> Iterator[str]:
        for trace in traces(rag, question, **options_of(values)):
            yield trace.html()

    question = gr.Textbox(
        label="Question", placeholder="Where was the director of Titanic born?", autofocus=True, elem_id="ask-question"
    )
    with gr.Row():
        ask = gr.Button("Ask", variant="primary", elem_id="ask-button")
        stop = gr.Button("Stop", min_width=100, scale=0, elem_id="ask-stop")
    with gr.Accordion("Settings", open=False):
        controls = settings_controls()
    shown = gr.HTML(elem_id="ask-answer")
    if questions:
        gr.Examples([[text] for text in questions], question, label="Questions to try")
    running = gr.on(
        [ask.click, question.submit], answer, [question, *controls], shown, show_progress="hidden", **MODEL
    )
    stop.click(None, cancels=running)
