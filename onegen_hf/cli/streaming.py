"""An answer on the terminal while it is generated."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ..terminal.characters import printable_in_terminal, printable_json, printable_line
from .display import UNANSWERED, WIDTH, answer_or_reason, format_usage

if TYPE_CHECKING:
    from ..generation.events import StreamEvent

_INDENT = " " * 10


def print_stream(question: str, events: Iterable[StreamEvent], sources: int = 1) -> dict[str, Any]:
    """
    Print events for people: the text as it is written, and passages below the query that found them. Control tokens
    are left out, and so is whatever could steer the terminal.

    Args:
        question (`str`)
        events (`Iterable[StreamEvent]`): Of `rag.stream`.
        sources (`int`, *optional*, defaults to 1): Passages to show per hop.

    Returns:
        `dict`: The result, as the pipeline returns it.
    """
    result: dict[str, Any] = {}
    written = ""
    print(f"Question  {printable_line(question)}", flush=True)
    text = _IndentedText()
    for event in events:
        record = event.to_dict()
        if event.type == "token":
            text.write(record["text"])
        elif event.type == "query" and not text.in_line:  # the model asks for something that it has not just written
            text.line(printable_line(record["text"]))
        elif event.type == "passages":
            text.end_line()
            for passage in record["passages"][:sources]:
                text.line(f"  {passage['score']:.3f}  {_shortened(passage)}")
        elif event.type == "answer":
            written = record["answer"]
        elif event.type == "done":
            result = record["result"]
            text.end_line()
            answer = printable_in_terminal(answer_or_reason({**result, "answer": written}, UNANSWERED))
            print(f"Answer    {answer}".replace("\n", f"\n{_INDENT}"), flush=True)
            text.line(format_usage(record["usage"]))
            if record["stop_reason"] != "eos":
                text.line(f"generation was stopped: {record['stop_reason']}")
            if result["retrieval_stopped"]:
                text.line(f"no further retrieval: {result['retrieval_stopped']}")
    print(flush=True)
    return result


def print_stream_as_json(question: str, events: Iterable[StreamEvent]) -> dict[str, Any]:
    """
    Print events for programs, one JSON object per line.

    Args:
        question (`str`): Stands in every line.
        events (`Iterable[StreamEvent]`): Of `rag.stream`.

    Returns:
        `dict`: The result, as the pipeline returns it.
    """
    record: dict[str, Any] = {}
    for event in events:
        record = event.to_dict()
        print(printable_json(json.dumps({"question": question, **record}, ensure_ascii=False)), flush=True)
    return record["result"]  # of the last event


class _IndentedText:
    """Prints pieces of text in indented lines, without the white space around a line."""

    def __init__(self) -> None:
        self.in_line = False
        self._space = ""

    def write(self, piece: str) -> None:
        for character in printable_in_terminal(piece):
            if character == "\n":
                self.end_line()
            elif character.isspace():
                self._space += character
            else:
                print(f"{self._space if self.in_line else _INDENT}{character}", end="")
                self.in_line, self._space = True, ""
        print(end="", flush=True)

    def end_line(self) -> None:
        if self.in_line:
            print(flush=True)
        self.in_line, self._space = False, ""

    def line(self, text: str) -> None:
        print(f"{_INDENT}{text}", flush=True)


def _shortened(passage: Mapping[str, Any]) -> str:
    text = textwrap.shorten(printable_line(passage["text"]), WIDTH - 30, placeholder=" …")
    return f"{printable_line(passage['title'])}: {text}"
