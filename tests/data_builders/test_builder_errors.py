"""Malformed input names file, line and remedy, or is counted."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.builder_records import build, column_layout, record, write_corpus, write_lines

from data_builders.documents import DocumentStore
from data_builders.errors import RecordError
from data_builders.schema import split_reference, validate_example

STEP = {"sub_question": "Who?", "answer": "Ada Moll", "title": "The Tin Boat"}
BROKEN: list[tuple[str, dict[str, Any], str]] = [
    ("missing_field", record(question=None), r"`question` is missing; add it"),
    ("missing_field", record(context=None), r"`context` \(or `context_titles`\) is missing"),
    ("missing_field", record(decomposition=None, supporting_facts=None), r"`supporting_facts` .* is missing"),
    (
        "missing_field",
        record(decomposition=[{"answer": "x", "title": "Ada Moll"}]),
        r"decomposition\[0\]\.sub_question",
    ),
    ("malformed_field", record(answer=7), r"`answer` must be text"),
    ("malformed_field", record(context=[["Ada Moll", "no list"]]), r"pairs \[title, \[sentence"),
    ("malformed_field", record(context={"title": ["A"], "sentences": []}), r"lists of the same length"),
    ("malformed_field", record(supporting_facts=[[]], decomposition=None), r"pairs \[title, sent_id\]"),
    ("malformed_field", record(decomposition=[{**STEP, "answer": 1950}]), r"must be text; quote it"),
    ("unknown_gold_title", record(decomposition=[{**STEP, "title": "Nobody"}]), r"no document is titled 'Nobody'"),
    ("unknown_title", record(context=None, context_titles=["Nobody"]), r"no document is titled 'Nobody'"),
    ("reserved_text", record(decomposition=[{**STEP, "sub_question": "[RQ]?"}]), r"remove it there"),
]


@pytest.mark.parametrize(("reason", "fields", "message"), BROKEN)
def test_a_broken_record_raises_or_is_counted(tmp_path: Path, reason: str, fields: Any, message: str) -> None:
    path = write_lines(tmp_path / "a.jsonl", [record(), fields])
    with pytest.raises(ValueError, match=rf"^a\.jsonl, line 2: .*{message}"):
        build(tmp_path / "out", path)
    counts = build(tmp_path / "out", path, on_error="skip").counts
    assert (counts["rows"], counts["examples"], counts["dropped"]) == (2, 1, {reason: 1})


def test_truncated_lines_and_arrays(tmp_path: Path) -> None:
    lines = tmp_path / "a.jsonl"
    lines.write_text(f"{json.dumps(record())}\n\n{json.dumps(record())[:-20]}", encoding="utf-8")
    array = tmp_path / "b.json"
    array.write_text(json.dumps([record(), record()], indent=None).replace("}, {", "},\n{")[:-20], encoding="utf-8")
    for path, place in ((lines, "a.jsonl, line 3"), (array, "b.json, line")):
        with pytest.raises(ValueError, match=rf"{place}.*not valid JSON .*; mend the record"):
            build(tmp_path / "out", path)
        assert build(tmp_path / "out", path, on_error="skip").counts["dropped"] == {"invalid_json": 1}


def test_files_that_end_too_early(tmp_path: Path) -> None:
    text = "".join(json.dumps(record(id=f"r{n}")) + "\n" for n in range(50)).encode()
    compressed = tmp_path / "a.jsonl.gz"
    compressed.write_bytes(gzip.compress(text)[:-30])
    empty = tmp_path / "b.jsonl"
    empty.write_bytes(b"")
    parquet = tmp_path / "c.parquet"
    pq.write_table(pa.Table.from_pylist([column_layout(record())]), parquet)
    parquet.write_bytes(parquet.read_bytes()[:-30])
    latin = tmp_path / "d.jsonl"
    latin.write_bytes(json.dumps(record(question="Où ?"), ensure_ascii=False).encode("latin-1"))
    for path, message in (
        (compressed, r"a\.jsonl\.gz, after line \d+: the compressed file ends too early .*; fetch it again"),
        (empty, r"b\.jsonl: the file is empty; give one with records"),
        (parquet, r"c\.parquet, after row 0: the Parquet file ends too early .*; fetch it again"),
        (latin, r"d\.jsonl, line 1: not UTF-8 .*; convert the file"),
    ):
        with pytest.raises(RecordError, match=message):
            build(tmp_path / "out", path)
        assert not (tmp_path / "out" / "README.md").exists()
    counts = build(tmp_path / "out", compressed, on_error="skip").counts
    assert counts["dropped"] == {"truncated_file": 1} and counts["rows"] == counts["examples"] + 1
    for path in (empty, parquet, latin):
        with pytest.raises(ValueError, match="no usable row; dropped by reason"):
            build(tmp_path / "out", path, on_error="skip")


@pytest.mark.parametrize("cut", [1, 40, 900])
@pytest.mark.parametrize("pad", [0, 70_000])
def test_a_broken_item_of_an_array_is_found_where_it_is(tmp_path: Path, cut: int, pad: int) -> None:
    path = tmp_path / "a.json"
    whole = json.dumps(record(filler="x" * pad))
    path.write_text(f"[{whole},\n{whole[:cut]}\x01{whole[cut:]},\n{whole}]", encoding="utf-8")
    with pytest.raises(RecordError, match=r"a\.json, line 2: not valid JSON"):
        build(tmp_path / "out", path)


@pytest.mark.parametrize(
    ("text", "reason"), [('{"id": "\\ud800"}', "invalid_text"), ("[1]", "invalid_json"), ("3", "invalid_json")]
)
def test_what_is_no_record(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(f"{json.dumps(record())}\n{text}\n{json.dumps(record())}", encoding="utf-8")
    assert build(tmp_path / "out", path, on_error="skip").counts["dropped"] == {reason: 1}


def test_what_follows_an_array_is_not_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps([record()]) + "\n" + json.dumps(record()), encoding="utf-8")
    assert build(tmp_path / "out", path, on_error="skip").counts["dropped"] == {"invalid_json": 1}


def test_a_first_line_that_was_cut_off_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("{\n" + json.dumps(record()) + "\n", encoding="utf-8")
    counts = build(tmp_path / "out", path, on_error="skip").counts
    assert (counts["rows"], counts["examples"]) == (2, 1)


def test_not_a_number_is_read(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", [record(score=float("nan"))])
    assert "NaN" in path.read_text() and len(build(tmp_path / "out", path).examples) == 1


def test_a_field_of_an_unexpected_type_names_its_line(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", [record(type=["x"])])
    with pytest.raises(RecordError, match=r"a\.jsonl, line 1: no record of 'multi-hop' \(TypeError"):
        build(tmp_path / "out", path)


def test_a_long_array_is_read_across_chunks(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps([record(id=f"r{n}") for n in range(300)], indent=1), encoding="utf-8")
    assert path.stat().st_size > 3 * 65536
    assert [row["id"] for row in build(tmp_path / "out", path).examples] == [f"r{n}" for n in range(300)]


def test_corpus_errors(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus.jsonl")
    with corpus.open("a", encoding="utf-8") as stream:
        stream.write('{"id": 0, "title": "Twice", "sentences": []}\n')
    with pytest.raises(ValueError, match=r"corpus\.jsonl, line 7: the id '0' was used before"):
        DocumentStore.from_corpus(corpus)
    with pytest.raises(ValueError, match="needs `title`"):
        DocumentStore.from_corpus(write_lines(tmp_path / "b.jsonl", [{"id": 1, "sentences": []}]))
    same = [{"id": n, "title": "Same", "sentences": [str(n)]} for n in range(2)]
    store = DocumentStore.from_corpus(write_lines(tmp_path / "c.jsonl", same))
    with pytest.raises(ValueError, match="make the corpus titles unique"):
        store.find("Same")
    assert store.find("Same", ["1"]).id == "1"


def test_on_error_is_checked(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match='must be "raise" or "skip"'):
        build(tmp_path / "out", write_lines(tmp_path / "a.jsonl", [record()]), on_error="ignore")


def example(**changes: Any) -> dict[str, Any]:
    content = "a[RQ]b[RQ]"
    base = {"id": "e", "messages": [{"role": "user", "content": "[RQ]"}, {"role": "assistant", "content": content}]}
    return {**base, "positives": [["x"], []], "negatives": [["y"], ["y#1"]], **changes}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"positives": [["x"]]}, "holds 2 query tokens .* `positives` has 1 entries"),
        ({"negatives": []}, "`negatives` has 0 entries"),
        ({"positives": [["z"], []]}, "unknown document id 'z'"),
        ({"positives": [["y"], []]}, "'y' is both positive and negative"),
        ({"positives": [["x"], ["y"]]}, "query token 1: 'y' is both positive and negative"),
    ],
)
def test_validate_example(changes: dict[str, Any], message: str) -> None:
    validate_example(example(), {"x", "y"})
    with pytest.raises(ValueError, match=message):
        validate_example(example(**changes), {"x", "y"})


def test_references_to_sentences() -> None:
    validate_example(example(positives=[["y#0"], ["y#2"]], negatives=[["y#1"], []]), {"y"})
    assert split_reference("y#2", {"y"}) == ("y", 2)
    assert split_reference("y#2", {"y#2"}) == ("y#2", None)
    assert split_reference("y#b", {"y"}) == ("y#b", None)
