"""The same question with two settings, side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any

import gradio as gr

from ..settings import NAMES, options_of, settings_controls
from ..streams import MODEL, traces


def compare_tab(rag: Any, questions: Sequence[str] = ()) -> None:
    """
    Args:
        rag ([`OneGenRagPipeline`])
        questions (`Sequence[str]`, *optional*): Examples.
    """

    def answer(question: str, *values: Any) -> Iterator[tuple[str, str]]:
        left, right = (options_of(values[start : start + len(NAMES)]) for start in (0, len(NAMES)))
        shown = ["", ""]
        # One event of each in turn: both answers grow together.
        for pair in zip_longest(traces(rag, question, **left), traces(rag, question, **right)):
            shown = [
                old if trace is None else f"<h3>{_named(options)}</h3>{trace.html()}"
                for old, trace, options in zip(shown, pair, (left, right), strict=True)
            ]
            yield shown[0], shown[1]

    question = gr.Textbox(label="Question", elem_id="compare-question")
    with gr.Row():
        compare = gr.Button("Compare", variant="primary", elem_id="compare-button")
        stop = gr.Button("Stop", min_width=100, scale=0)
    controls: list[Any] = []
    shown: list[Any] = []
    with gr.Row():
        for name, retrieval in (("left", "adaptive"), ("right", "never")):
            with gr.Column(min_width=320):
                with gr.Accordion(f"Settings, {name} (retrieval: {retrieval})", open=False):
                    controls += settings_controls(retrieval=retrieval)
                shown.append(gr.HTML(elem_id=f"compare-{name}"))
    if questions:
        gr.Examples([[text] for text in questions], question, label="Questions to try")
    running = gr.on(
        [compare.click, question.submit], answer, [question, *controls], shown, show_progress="hidden", **MODEL
    )
    stop.click(None, cancels=running)


def _named(options: Mapping[str, Any]) -> str:
    """The settings of an answer in a few words."""
    words = [f"Retrieval: {options['retrieval']}"]
    if options["threshold"] is not None:
        words.append(f"threshold {options['threshold']:g}")
    if options["retrieval"] != "never":
        words += [f"{options['k']} passages each" if options["k"] > 1 else "1 passage each"]
    return ", ".join(words)
