"""Texts from standard input in whatever encoding, and output that cannot steer a terminal."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onegen_hf.cli.display import format_result
from onegen_hf.cli.standard_input import lines_of_standard_input, whole_standard_input
from onegen_hf.terminal.characters import printable_json

HOSTILE = "\x1b]0;title\x07 \x1b[2J \x9b2J \u202eright to left"
USAGE = dict(prompt_tokens=1, generated_tokens=2, retrieved_tokens=3, forwarded_tokens=5, forward_calls=3)


def standard_input(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))


def test_a_byte_order_mark_is_no_text(monkeypatch: pytest.MonkeyPatch) -> None:
    standard_input(monkeypatch, "\ufeffWho made it?\r\nOù est \ufeff Zürich?\n".encode())
    assert list(lines_of_standard_input()) == ["Who made it?", "Où est \ufeff Zürich?"]
    standard_input(monkeypatch, "\ufeffone\ntwo".encode())
    assert whole_standard_input() == "one\ntwo"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("Who?\nOù est Zürich?\n".encode("latin-1"), "line 2 of standard input is not UTF-8 .byte 0xf9 at position 1"),
        ("Who?\n".encode("utf-16"), "standard input is UTF-16: convert it"),
    ],
)
def test_other_encodings_are_named(monkeypatch: pytest.MonkeyPatch, data: bytes, message: str) -> None:
    standard_input(monkeypatch, data)
    with pytest.raises(ValueError, match=message):
        list(lines_of_standard_input())


def test_nothing_to_read_is_said(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    standard_input(monkeypatch, b"")
    assert list(lines_of_standard_input()) == []
    standard_input(monkeypatch, b"")
    assert whole_standard_input() == ""
    assert [record.message for record in caplog.records] == 2 * [
        "standard input is empty: give texts as arguments, or on standard input"
    ]


def result(**changes: Any) -> dict[str, Any]:
    passage = {"id": "a", "title": f"Ada {HOSTILE}\nAnswer    no", "text": f"text {HOSTILE}", "score": 0.5}
    retrieval = {"hop": 0, "query": f"Where {HOSTILE}?", "passages": [passage]}
    return {
        "answer": f"Fern {HOSTILE}\nQuestion  Bay", "text": HOSTILE, "retrievals": [retrieval], "usage": USAGE,
        "stop_reason": "eos", "retrieval_stopped": None, **changes,
    }  # fmt: skip


def test_what_is_shown_cannot_steer_a_terminal() -> None:
    shown = format_result(f"Why {HOSTILE}?", result())
    assert not [c for c in shown if (c < " " and c != "\n") or "\x7f" <= c < "\xa0" or "\u202a" <= c <= "\u202e"]
    starts = [line[:8].strip() for line in shown.splitlines()]
    assert starts.count("Question") == starts.count("Answer") == 1


@given(st.text(st.characters(codec=None), max_size=30))
def test_json_means_the_same(text: str) -> None:
    line = printable_json(json.dumps({"text": text}, ensure_ascii=False))
    assert json.loads(line) == {"text": text}
    line.encode()
    assert not [c for c in line if c < " " or "\x7f" <= c < "\xa0"]


def test_arguments_that_are_no_text() -> None:
    from onegen_hf.cli.ask import main

    with pytest.raises(ValueError, match="question 1 holds half of a surrogate pair"):
        main(["Où\udcff"])
