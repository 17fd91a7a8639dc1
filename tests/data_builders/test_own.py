"""Your own texts, questions and answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.builder_records import build, write_lines

from data_builders.errors import RecordError
from data_builders.own.chunking import chunk_text
from data_builders.own.converter import OwnConverter

LONG = "Ada Moll was born in Fern Bay.\n\nShe made The Tin Boat.\n\nShe died in Elm Hill."


def texts(folder: Path) -> Path:
    """Three files, two of one name, one long."""
    (folder / "more").mkdir(parents=True)
    (folder / "Ada Moll.txt").write_text(LONG, encoding="utf-8")
    (folder / "Song #9.md").write_text("# Song\n\nSung by Ben Oak.", encoding="utf-8")
    (folder / "more" / "Song #9.txt").write_text("Another song.", encoding="utf-8")
    return folder


def test_a_folder_of_texts(tmp_path: Path) -> None:
    rows = [
        {"question": "Where did Ada Moll die?", "answer": "Elm Hill", "passage_ids": ["Ada Moll"]},
        {"question": "Who sang?", "answers": ["Ben Oak", "Oak"], "passage_ids": "Song %239"},
        {"question": "Who sang?", "answers": ["Ben Oak"], "passage_ids": "Song #9"},
        {"question": "Who knows?", "answers": ["No one"]},
        {"question": "Who knows?", "answers": []},
    ]
    built = build(
        tmp_path / "out",
        write_lines(tmp_path / "a.jsonl", rows),
        texts(tmp_path / "texts"),
        OwnConverter(max_chars=40),
    )
    assert {document["id"]: document["sentences"] for document in built.documents} == {
        **{f"Ada Moll/{number}": [part] for number, part in enumerate(LONG.split("\n\n"), start=1)},
        "Song %239": ["# Song\n\nSung by Ben Oak."],
        "Song %239 (2)": ["Another song."],
    }
    assert [row["positives"] for row in built.examples] == [[["Ada Moll/3"]], [["Song %239"]], [["Song %239"]], [[]]]
    assert built.examples[0]["messages"][1]["content"] == (
        "Where did Ada Moll die?[RQ]<paragraph>Ada Moll\nShe died in Elm Hill.</paragraph>\nAnswer: Elm Hill"
    )
    assert built.examples[3]["messages"][1]["content"] == "Who knows?[RQ]\nAnswer: No one"
    assert built.counts["dropped"] == {"no_answer": 1}
    assert built.counts["meta"]["passages"] == {"given": 3, "none": 1}


def test_records_of_any_columns(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.csv"
    corpus.write_text('key,head,words\n007,Boat,"The boat, of tin."\n008,Kite,\n009,,A hill.\n', encoding="utf-8")
    questions = tmp_path / "q.tsv"
    questions.write_text('ask\treply\twhere\nWhat of?\t["tin", "metal"]\t["007"]\n', encoding="utf-8")
    converter = OwnConverter(
        text_column="words", title_column="head", id_column="key",
        question_column="ask", answer_column="reply", passages_column="where",
    )  # fmt: skip
    with pytest.raises(RecordError, match=r"corpus\.csv, line 3: no column 'words' .*; name it with `text_column`"):
        build(tmp_path / "out", questions, corpus, converter)
    built = build(tmp_path / "out", questions, corpus, converter=OwnConverter(**vars_of(converter)), on_error="skip")
    assert [document["id"] for document in built.documents] == ["007", "009"]
    assert built.examples[0]["positives"] == [["007"]] and built.examples[0]["answers"] == ["tin", "metal"]


def vars_of(converter: OwnConverter) -> dict[str, Any]:
    return {name: value for name, value in vars(converter).items() if not name.startswith("_")}


def test_documents_without_title_and_id_are_numbered(tmp_path: Path) -> None:
    corpus = write_lines(
        tmp_path / "corpus.jsonl", [{"text": "One."}, {"sentences": ["Two.", "Three."]}, {"text": " "}]
    )
    path = write_lines(tmp_path / "a.jsonl", [{"id": "q7", "query": "?", "response": "One", "positive": "corpus-1"}])
    built = build(tmp_path / "out", path, corpus, OwnConverter())
    assert [document["id"] for document in built.documents] == ["corpus-1", "corpus-2"]
    assert built.examples[0]["id"] == "q7" and built.report["documents"]["dropped"] == {"empty_text": 1}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"answer": "x"}, r"no column 'question or query .* name it with `question_column`"),
        ({"question": ["?"], "answer": "x"}, "the question must be text"),
        ({"question": "?", "answer": {"a": 1}}, "the answer must be a text or a list of texts"),
        ({"question": "?", "answer": "x", "passage_ids": ["y"]}, "no document has the id or title 'y'"),
        ({"question": "? [RQ]", "answer": "x", "passage_ids": ["b"]}, "contains one of"),
    ],
)
def test_malformed_questions(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    corpus = write_lines(tmp_path / "corpus.jsonl", [{"id": "b", "text": "B."}])
    with pytest.raises(RecordError, match=rf"a\.jsonl, line 1: .*{message}"):
        build(tmp_path / "out", write_lines(tmp_path / "a.jsonl", [row]), corpus, OwnConverter())


def test_ids_are_unique_and_texts_are_utf8(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", [{"question": "?", "answer": "x"}])
    twice = write_lines(tmp_path / "corpus.jsonl", [{"id": "b", "text": "B."}, {"id": "b", "text": "C."}])
    with pytest.raises(RecordError, match=r"corpus\.jsonl, line 2: the id 'b' was used before"):
        build(tmp_path / "out", path, twice, OwnConverter())
    (tmp_path / "latin.txt").write_bytes("Où".encode("latin-1"))
    with pytest.raises(RecordError, match=r"latin\.txt: not UTF-8"):
        build(tmp_path / "out", path, tmp_path / "latin.txt", OwnConverter())
    with pytest.raises(ValueError, match="`max_chars` must be at least 1"):
        OwnConverter(max_chars=0)


@given(text=st.text(alphabet="ab. \n", max_size=200), max_chars=st.integers(1, 30))
def test_chunks_are_bounded_and_nothing_is_lost(text: str, max_chars: int) -> None:
    chunks = chunk_text(text, max_chars)
    assert all(0 < len(chunk) <= max_chars for chunk in chunks)
    assert "".join("".join(chunk.split()) for chunk in chunks) == "".join(text.split())
    assert all(chunk == chunk.strip() for chunk in chunks)


def test_paragraphs_are_put_together_while_they_fit() -> None:
    assert chunk_text(LONG, 60) == ["\n\n".join(LONG.split("\n\n")[:2]), LONG.split("\n\n")[2]]
    assert chunk_text("One two. Three four.", 12) == ["One two.", "Three four."]
    assert chunk_text("abcdef", 4) == ["abcd", "ef"]


def test_the_meta_is_json(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", [{"question": "?", "answer": "x"}])
    corpus = write_lines(tmp_path / "corpus.jsonl", [{"id": "b", "text": "B."}])
    assert json.loads(build(tmp_path / "out", path, corpus, OwnConverter()).examples[0]["meta"]) == {
        "passages": "none"
    }
