"""MuSiQue's layout: references are filled in, passages are told by their number."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.builder_records import build, write_lines

from data_builders.errors import RecordError


def musique(**changes: Any) -> dict[str, Any]:
    """Two passages of one title, so that only the number tells them apart."""
    passages = [
        ("Fern Bay", "Fern Bay is a bay.", False),
        ("Tin films", "The Tin Boat was directed by Ada Moll.", True),
        ("Tin films", "The Tin Kite was directed by Ben Oak.", False),
        ("Ada Moll", "Ada Moll married Ben Oak.", True),
    ]
    fields: dict[str, Any] = {
        "id": "2hop__1_2",
        "paragraphs": [
            {"idx": number, "title": title, "paragraph_text": text, "is_supporting": supporting}
            for number, (title, text, supporting) in enumerate(passages)
        ],
        "question": "Who married the director of The Tin Boat?",
        "question_decomposition": [
            {"id": 1, "question": "The Tin Boat >> director", "answer": "Ada Moll", "paragraph_support_idx": 1},
            {"id": 2, "question": "Who did #1 marry?", "answer": "Ben Oak", "paragraph_support_idx": 3},
        ],
        "answer": "Ben Oak",
        "answer_aliases": ["B. Oak"],
        "answerable": True,
    }
    return {**fields, **changes}


def as_columns(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    return {name: [row[name] for row in rows] for name in rows[0]}


@pytest.mark.parametrize("layout", ["rows", "columns"])
def test_a_question(tmp_path: Path, layout: str) -> None:
    fields = musique()
    if layout == "columns":
        for name in ("paragraphs", "question_decomposition"):
            fields[name] = as_columns(fields[name])
    built = build(tmp_path / "out", write_lines(tmp_path / "a.jsonl", [fields]))
    assert built.examples[0]["messages"][1]["content"] == (
        "Who directed The Tin Boat?[RQ]<paragraph>Tin films\nThe Tin Boat was directed by Ada Moll.</paragraph> "
        "Ada Moll\nWho did Ada Moll marry?[RQ]<paragraph>Ada Moll\nAda Moll married Ben Oak.</paragraph> Ben Oak\n"
        "Answer: Ben Oak"
    )
    other = next(d["id"] for d in built.documents if d["id"].startswith("Tin films ["))
    assert built.examples[0]["positives"] == [["Tin films"], ["Ada Moll"]]
    assert built.examples[0]["negatives"] == [["Fern Bay", other], [other, "Fern Bay"]]
    assert built.examples[0]["answers"] == ["Ben Oak", "B. Oak"]
    assert built.counts["meta"]["decomposition"] == {"musique": 1}


def test_a_number_that_is_no_reference_stays(tmp_path: Path) -> None:
    steps = [{"question": "Who sang the #1 hit #2?", "answer": "Ada Moll", "paragraph_support_idx": 1}]
    built = build(tmp_path / "out", write_lines(tmp_path / "a.jsonl", [musique(question_decomposition=steps)]))
    assert built.examples[0]["messages"][1]["content"].startswith("Who sang the #1 hit #2?[RQ]")


def test_what_cannot_be_answered_is_dropped(tmp_path: Path) -> None:
    rows = [musique(), musique(answerable=False), musique(answer=None)]
    counts = build(tmp_path / "out", write_lines(tmp_path / "a.jsonl", rows)).counts
    assert counts["rows"] == 3 and counts["dropped"] == {"no_answer": 1, "unanswerable": 1}


def test_without_decomposition_the_rule_is_used(tmp_path: Path) -> None:
    built = build(tmp_path / "out", write_lines(tmp_path / "a.jsonl", [musique(question_decomposition=None)]))
    assert built.counts["meta"]["decomposition"] == {"heuristic": 1}
    assert built.counts["hops"] == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"paragraphs": [{"title": "a"}]}, r"`paragraphs\[0\]\.text` is missing"),
        ({"paragraphs": [{"idx": 1, "title": "a", "text": "b"}] * 2}, "have the same `idx`"),
        ({"paragraphs": {"idx": [1], "title": []}}, "columns of `paragraphs` must be lists of the same length"),
        (
            {"question_decomposition": [{"question": "a", "answer": "b", "paragraph_support_idx": None}]},
            "is None, but",
        ),
        ({"question_decomposition": [{"question": "a", "answer": "b", "paragraph_support_idx": 9}]}, "is 9, but no"),
    ],
)
def test_malformed_records(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RecordError, match=rf"a\.jsonl, line 1: .*{message}"):
        build(tmp_path / "out", write_lines(tmp_path / "a.jsonl", [musique(**changes)]))
