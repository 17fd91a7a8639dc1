"""What `ask --stream` prints: readable, without tags, and nothing that could steer the terminal."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onegen_hf.cli.streaming import print_stream, print_stream_as_json
from onegen_hf.generation.events import AnswerEvent, DoneEvent, PassagesEvent, QueryEvent, StreamEvent, TokenEvent

BOAT = {"id": "d0", "title": "Tin Boat", "text": "Tin Boat is a film by Ada Moll.", "score": 0.6789}
MOLL = {"id": "d1", "title": "Ada Moll", "text": "Ada Moll was born in Fern Bay.", "score": 0.5}
USAGE = {
    "prompt_tokens": 9, "generated_tokens": 20, "retrieved_tokens": 30, "forwarded_tokens": 58, "forward_calls": 21,
    "rejected_tokens": 0,
}  # fmt: skip


def events(answer: str = "Fern Bay", stop_reason: str = "eos", stopped: str | None = None) -> list[StreamEvent]:
    result = {"answer": answer, "retrieval_stopped": stopped}
    return [
        *[TokenEvent(text, 1, 0) for text in ("Who", " made", " Tin Boat", "?", "")],
        QueryEvent(0, "Who made Tin Boat?", 0.9),
        PassagesEvent(0, "Who made Tin Boat?", (BOAT, MOLL), "Tin Boat\n...", 12),
        *[TokenEvent(text, 1, 1) for text in (" Ada Moll", "\n", "Where?", "")],
        QueryEvent(1, "Where?"),
        PassagesEvent(1, "Where?", (MOLL, BOAT), "Ada Moll\n...", 12),
        *[TokenEvent(text, 1, 2) for text in (" Fern", " Bay\n\nAnswer:", " Fern Bay", "")],
        AnswerEvent(answer, bool(answer)),
        DoneEvent(USAGE, stop_reason, result),
    ]


def test_a_stream(capsys: pytest.CaptureFixture[str]) -> None:
    print_stream("Where was she born?", events())
    assert capsys.readouterr().out == (
        """Question  Where was she born?
          Who made Tin Boat?
            0.679  Tin Boat: Tin Boat is a film by Ada Moll.
          Ada Moll
          Where?
            0.500  Ada Moll: Ada Moll was born in Fern Bay.
          Fern Bay
          Answer: Fern Bay
Answer    Fern Bay
          9 prompt + 20 generated + 30 retrieved tokens; 58 forwarded in 21 steps

"""
    )


def test_a_query_that_the_model_did_not_write(capsys: pytest.CaptureFixture[str]) -> None:
    """As where it searches for the question: it is shown all the same."""
    print_stream("Who made it?", [TokenEvent("", 1, 0), QueryEvent(0, "Who made it?"), *events()[6:]])
    assert capsys.readouterr().out.startswith(
        """Question  Who made it?
          Who made it?
            0.679  Tin Boat: Tin Boat is a film by Ada Moll.
          Ada Moll
          Where?
            0.500"""
    )


def test_more_passages_and_why_it_stopped(capsys: pytest.CaptureFixture[str]) -> None:
    print_stream("Where?", events("", "max_new_tokens", "max_hops"), sources=2)
    shown = capsys.readouterr().out
    assert shown.count("Tin Boat: ") == shown.count("Ada Moll: ") == 2
    assert "Answer    (none was written)" in shown
    assert "generation was stopped: max_new_tokens" in shown and "no further retrieval: max_hops" in shown


def test_it_is_printed_while_it_happens(capsys: pytest.CaptureFixture[str]) -> None:
    shown = []

    def watched() -> Iterator[StreamEvent]:
        for event in events():
            yield event
            shown.append(capsys.readouterr().out)

    print_stream("Where?", watched())
    assert shown[0].endswith("Who") and shown[1:4] == [" made", " Tin Boat", "?"]


@given(st.text(st.characters(codec=None), max_size=20))
def test_nothing_steers_the_terminal(hostile: str) -> None:
    passage = {**BOAT, "title": hostile, "text": hostile}
    written = [
        TokenEvent(hostile, 1, 0), PassagesEvent(0, hostile, (passage,)), AnswerEvent(hostile, True),
        DoneEvent(USAGE, "eos", {"retrieval_stopped": None}),
    ]  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        parts: list[str] = []
        patch.setattr("builtins.print", lambda *a, end="\n", **_: parts.append("".join(a) + end))
        print_stream(hostile, written)
        shown = "".join(parts)
        parts.clear()
        print_stream_as_json(hostile, written)
    assert not [c for c in shown if (c < " " and c not in "\n\t") or "\x7f" <= c < "\xa0" or c in "\u202e\u2066"]
    starts = [line[:8].strip() for line in shown.splitlines()]
    assert starts.count("Question") == starts.count("Answer") == 1
    assert [json.loads(line)["type"] for line in parts] == ["token", "passages", "answer", "done"]
    assert json.loads(parts[0])["text"] == hostile


def test_events_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    print_stream_as_json("Where?", events())
    lines: list[Any] = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines == [json.loads(json.dumps({"question": "Where?", **event.to_dict()})) for event in events()]


def test_a_withheld_answer(capsys: pytest.CaptureFixture[str]) -> None:
    *others, done = events("")
    assert isinstance(done, DoneEvent)
    result = {**done.result, "retrieval_confidence": 0.414, "answer_threshold": 0.506}
    print_stream("Where?", [*others, DoneEvent(USAGE, "eos", result)])
    shown = capsys.readouterr().out
    assert "Answer    The passages do not answer this: best score 0.41, threshold 0.51\n" in shown
