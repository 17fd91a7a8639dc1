"""`onegen-hf ask`: answers questions, and shows what was retrieved for them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from ..checks import checked_fields, flag, integer, optional, path, text
from ..terminal.characters import printable_json
from ..terminal.options import OptionParser
from .critique_arguments import CritiqueArguments
from .model_arguments import AnswerArguments
from .page_file import write_page
from .reading_arguments import ReadingArguments
from .search_arguments import SearchOptions
from .standard_input import batches_of_standard_input
from .trace import print_result

READ_AHEAD = 4
"""Batches of questions that are read from a file at a time."""

if TYPE_CHECKING:
    from ..generation.events import StreamEvent


@dataclass(kw_only=True)
class PipelineArguments(AnswerArguments, SearchOptions, ReadingArguments):
    """Which model and index answer questions, and how."""

    renamed: ClassVar[dict[str, str]] = {**AnswerArguments.renamed, "k": "top_k"}

    top_k: int = field(default=1, metadata={"help": "Passages per retrieval."})
    batch_size: int = field(default=8, metadata={"help": "Questions decoded together."})
    prompt_lookup_num_tokens: int | None = field(
        default=None,
        metadata={"help": "Tokens to draft from the preceding text in each forward, such as 6: faster, same text."},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        SearchOptions.__post_init__(self)
        ReadingArguments.__post_init__(self)
        checked_fields(
            self,
            top_k=integer(least=1),
            batch_size=integer(least=1),
            prompt_lookup_num_tokens=optional(integer(least=1)),
        )

    def load(self) -> Any:
        """The pipeline."""
        name = self.checkpoint()
        from transformers import pipeline

        options = {"index": self.index, "preset": self.preset, "dtype": self.dtype, **self.place()}
        rag = pipeline("onegen-rag", model=name, **options)
        rag.model = self.quantized(rag.model)
        return rag

    def call_options(self) -> dict[str, Any]:
        """Arguments for a call of the pipeline."""
        options: dict[str, Any] = {
            "k": self.top_k,
            "max_hops": self.max_hops,
            "retrieval": self.retrieval,
            "threshold": self.retrieval_threshold,
            "answer_threshold": self.answer_threshold,
            "max_new_tokens": self.max_new_tokens,
            "hybrid": self.hybrid,
            "fusion": self.fusion,
            **self.reading_options(),
            "filter": self.passage_filter(),
        }
        if self.prompt_lookup_num_tokens is not None:
            options["prompt_lookup_num_tokens"] = self.prompt_lookup_num_tokens
        return options


@dataclass(kw_only=True)
class AskArguments(PipelineArguments, CritiqueArguments):
    """Options of `onegen-hf ask`."""

    json: bool = field(default=False, metadata={"help": "Print one JSON object per question."})
    stream: bool = field(
        default=False, metadata={"help": "Print what happens while it happens; with --json one event per line."}
    )
    html: str | None = field(
        default=None, metadata={"help": "Also write an HTML page with the answers and their retrievals."}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        CritiqueArguments.__post_init__(self)
        checked_fields(self, json=flag(), stream=flag(), html=optional(path()))
        if self.stream and self.critique:
            raise ValueError("stream=True: with critique, the answer is known only at the end. Leave out one of them")

    def call_options(self) -> dict[str, Any]:
        """Arguments for a call of the pipeline."""
        options = super().call_options()
        return {**options, "critique": self.critique_settings()} if self.critique else options


def parser() -> OptionParser:
    """The options of the command."""
    return OptionParser(
        AskArguments,
        "onegen-hf ask",
        "[QUESTION ...]",
        "Answer questions, given as arguments or, one per line, on standard input.",
    )


def main(arguments: Sequence[str]) -> None:
    """
    Run the command: `onegen-hf ask "Where was …?" "Who …?" --top-k 2`.

    Without a question on the command line, it reads standard input, one question per line.
    """
    questions, ask = parser().parse_with_texts(arguments)
    for place, question in enumerate(questions, start=1):
        text()(f"question {place}", question)
    rag = ask.load()
    results: list[tuple[str, dict[str, Any]]] = []
    for batch in [questions] if questions else read_questions(1 if ask.stream else READ_AHEAD * ask.batch_size):
        if ask.stream:
            results += [(asked, show_stream(ask, asked, rag.stream(asked, **ask.call_options()))) for asked in batch]
            continue
        for question, result in zip(batch, rag(batch, batch_size=ask.batch_size, **ask.call_options()), strict=True):
            show(ask, question, result)
            results.append((question, result))
    if ask.html is not None:
        from ..pipelines.display import trace_page

        write_page(ask.html, trace_page(results, query_token=rag.model.onegen_config.tokens.query))


def read_questions(most: int) -> Iterator[list[str]]:
    """
    Questions from standard input, with a prompt on a terminal; blank lines are skipped.

    Args:
        most (`int`): Read ahead up to this many lines that are there already. In a conversation, where the next
            question comes after the answer, each question is a batch of its own.
    """
    for lines in batches_of_standard_input(most, prompt="? "):
        questions = [line.strip() for line in lines if line.strip()]
        if questions:
            yield questions


def show_stream(ask: AskArguments, question: str, events: Iterable[StreamEvent]) -> dict[str, Any]:
    """Print one answer while it is generated, and return its result."""
    from .streaming import print_stream, print_stream_as_json

    if ask.json:
        return print_stream_as_json(question, events)
    return print_stream(question, events, sources=ask.top_k)


def show(ask: AskArguments, question: str, result: dict[str, Any]) -> None:
    """Print one result."""
    if ask.json:
        print(printable_json(json.dumps({"question": question, **result}, ensure_ascii=False)), flush=True)
    else:
        print_result(question, result, sources=ask.top_k)
