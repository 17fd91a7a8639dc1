"""Texts of one's own: pasted or uploaded, indexed at once, then asked about."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from data_builders.records import DATA_SUFFIXES, TEXT_SUFFIXES, data_suffix, read_records

from ...data.passages import Passage, PassageEncoder
from ...index import PassageIndex
from ..html import render
from ..streams import MODEL, shown_errors, traces
from .browse import described

MOST_CHARACTERS = 2_000_000
"""More are refused: they would take minutes on a CPU."""
SUFFIXES = (*TEXT_SUFFIXES, *DATA_SUFFIXES)
_SHOWN = 20


def own_texts_tab(rag: Any) -> None:
    """
    Args:
        rag ([`OneGenRagPipeline`]): Its index stays as it is; each visitor has an index of their own.
    """

    def build(
        text: str,
        files: list[str] | None,
        progress: gr.Progress = gr.Progress(track_tqdm=True),  # noqa: B008
    ) -> tuple[Any, str, Any]:
        with shown_errors():
            passages = passages_of(text or "", [Path(file) for file in files or ()])
            encoder = PassageEncoder(rag.tokenizer, rag.model.onegen_config)
            index = PassageIndex.build(rag.model, rag.tokenizer, passages, max_tokens_per_passage=encoder.max_embedded)
        own = copy.copy(rag)  # the same model; only what it searches differs
        own.index = index
        note = f"{len(passages)} texts became {len(index)} passages. Ask about them below."
        first = [described(index.passages[row]) for row in range(min(_SHOWN, len(index)))]
        return own, render("results.html.jinja", passages=first, note=note), gr.Textbox(interactive=True)

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
            label=f"Or upload files ({', '.join(SUFFIXES)})", file_count="multiple", file_types=list(SUFFIXES),
            elem_id="own-files", height=220,
        )  # fmt: skip
    index = gr.Button("Index", variant="primary", elem_id="own-index")
    with gr.Row():
        question = gr.Textbox(label="Question about these texts", elem_id="own-question", scale=3)
        k = gr.Slider(1, 10, 1, step=1, label="Passages per retrieval", scale=1)
    with gr.Row():
        ask = gr.Button("Ask", elem_id="own-ask")
        stop = gr.Button("Stop")
    answered = gr.HTML(elem_id="own-answer")
    indexed = gr.HTML(elem_id="own-passages")
    index.click(build, [text, files], [state, indexed, question], show_progress_on=indexed, **MODEL)
    running = gr.on(
        [ask.click, question.submit], answer, [state, question, k], answered, show_progress="hidden", **MODEL
    )
    stop.click(None, cancels=running)


def passages_of(text: str, files: Sequence[Path]) -> list[Passage]:
    """
    Passages of pasted text and of files.

    Args:
        text (`str`): Paragraphs between empty lines; a line `# Title` titles the paragraphs below it.
        files (`Sequence[Path]`): As [`load_documents`] takes them.

    Returns:
        `list[Passage]`: With the ids `pasted-1`, ..., and `FILE/ID` of records with an id, else `FILE/NAME-1`, ...

    Raises:
        `ValueError`: If there is no text, too much, or a file can't be read.
    """
    passages = [*_pasted(text)]
    for file in files:
        if data_suffix(file) not in SUFFIXES:
            raise ValueError(f"{file.name}: give one of {', '.join(SUFFIXES)}")
        passages += _of_file(file)
    if not passages:
        raise ValueError("There is no text yet: paste some, or choose a file.")
    size = sum(len(passage.text) for passage in passages)
    if size > MOST_CHARACTERS:
        raise ValueError(
            f"The texts have {size:,} characters; up to {MOST_CHARACTERS:,} can be indexed here. Use `onegen-hf "
            "index` for more."
        )
    return passages


def _pasted(text: str) -> Iterator[Passage]:
    title, number = "", 0
    for paragraph in text.replace("\r\n", "\n").split("\n\n"):
        first, _, rest = paragraph.strip().partition("\n")
        if first.startswith("#"):
            title, paragraph = first.lstrip("#").strip(), rest
        if paragraph.strip():
            number += 1
            yield Passage(f"pasted-{number}", title, paragraph.strip())


def _of_file(file: Path) -> Iterator[Passage]:
    seen: set[str] = set()
    for number, located in enumerate(read_records(file)):
        passage = Passage.from_record(located.record, number)
        identifier = (
            passage.id if passage.id != str(number) and passage.id not in seen else f"{file.stem}-{number + 1}"
        )
        seen.add(identifier)
        yield Passage(f"{file.name}/{identifier}", passage.title, passage.text, passage.sentences, passage.meta)
