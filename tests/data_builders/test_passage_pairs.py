"""Pairs of a query and its passage, out of passages alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.builder_records import build, write_lines

from data_builders.documents import Document
from data_builders.errors import RecordError
from data_builders.passage_pairs.converter import PassagePairsConverter
from data_builders.passage_pairs.queries import QUERIES, span_query

ROWS = [
    {"id": "1", "title": "Ada Moll", "text": "Ada Moll is a director of films. She was born near Fern Bay in 1950."},
    {"id": "2", "title": "Elm Hill", "text": "Elm Hill is a hill."},
    {"id": "3", "title": "Kite", "text": "A kite is a toy that flies in the wind. It has a long string and a tail."},
    {
        "id": "4",
        "title": "kite",
        "text": "A kite is a bird with a forked tail and long wings. It eats mice and frogs.",
    },
]


def test_each_passage_gives_a_query_of_each_kind(tmp_path: Path) -> None:
    built = build(tmp_path / "out", write_lines(tmp_path / "a.jsonl", ROWS), (), PassagePairsConverter())
    kinds = {row["id"]: json.loads(row["meta"])["kind"] for row in built.examples}
    assert kinds == {
        "1-title": "title", "1-sentence": "sentence", "1-span": "span",
        "2-title": "title",
        "3-sentence": "sentence", "3-span": "span",
        "4-sentence": "sentence", "4-span": "span",
    }  # fmt: skip
    assert built.counts["dropped"] == {"too_short": 2, "ambiguous": 2}
    texts = {row["id"]: " ".join(row["sentences"]) for row in built.documents}
    for row in built.examples:
        (passage_id,) = row["positives"][0]
        query, kind = row["question"], kinds[row["id"]]
        assert row["messages"] == [{"role": "user", "content": query}, {"role": "assistant", "content": "[RQ]"}]
        assert kind == "title" or query in texts[passage_id]
        assert kind != "sentence" or query.endswith(".")
        assert kind != "span" or 5 <= len(query.split()) <= 12
    assert built.examples[0]["question"] == "Ada Moll"


def test_passages_without_ids_and_one_kind(tmp_path: Path) -> None:
    rows = [{"title": row["title"], "text": row["text"]} for row in [*ROWS[:2], ROWS[0]]]
    converter = PassagePairsConverter(kinds="title, span", id_prefix="own-")
    built = build(tmp_path / "out", write_lines(tmp_path / "a.jsonl", rows), (), converter)
    assert [(row["id"], row["positives"]) for row in built.examples] == [
        ("own-Ada Moll-title", [["own-Ada Moll"]]),
        ("own-Ada Moll-span", [["own-Ada Moll"]]),
        ("own-Elm Hill-title", [["own-Elm Hill"]]),
    ]
    assert built.counts["dropped"] == {"too_short": 1, "duplicate": 2}


def test_a_folder_of_texts(tmp_path: Path) -> None:
    texts = tmp_path / "texts"
    texts.mkdir()
    (texts / "Ada Moll.md").write_text("Ada Moll was born in Fern Bay. She made a film of it.", encoding="utf-8")
    (texts / "Elm Hill.txt").write_text("Elm Hill is a hill.", encoding="utf-8")
    built = build(tmp_path / "out", texts, (), PassagePairsConverter(kinds="title,sentence"))
    assert [row["id"] for row in built.examples] == ["Ada Moll-title", "Ada Moll-sentence", "Elm Hill-title"]


def test_two_texts_under_one_id(tmp_path: Path) -> None:
    rows = [ROWS[0], {**ROWS[1], "id": "1"}]
    with pytest.raises(RecordError, match="line 2.*the id '1' was used before"):
        build(tmp_path / "out", write_lines(tmp_path / "a.jsonl", rows), (), PassagePairsConverter())


@given(st.lists(st.sampled_from(["one", "two", "three", "four"]), max_size=60), st.integers(1, 20), st.integers())
def test_spans_are_parts_of_the_passage(words: list[str], min_words: int, seed: int) -> None:
    passage = Document("d", "Title", (" ".join(words),))
    query = span_query(passage, min_words, seed)
    if query is None:
        assert len(words) < 2 * max(min_words, 5) or min_words > 12
    else:
        assert query in passage.text
        assert max(5, min_words) <= len(query.split()) <= 12
        assert 2 * len(query.split()) <= len(words)
        assert query == span_query(passage, min_words, seed)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kinds": "title,summary"}, "`kinds` has 'summary', which is not a kind of query; choose from title"),
        ({"kinds": " , "}, "`kinds` is empty"),
        ({"min_words": 0}, "`min_words` must be at least 1, got 0"),
    ],
)
def test_bad_options(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PassagePairsConverter(**options)  # type: ignore[arg-type]


def test_every_kind_has_a_function() -> None:
    assert list(QUERIES) == PassagePairsConverter().kinds.split(",")
