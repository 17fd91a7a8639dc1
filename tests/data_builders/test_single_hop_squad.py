"""SQuAD in its layouts: the same example from each, rows that add up, faults with their place."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st

from data_builders.documents import DocumentStore
from data_builders.errors import Dropped, ErrorPolicy, RecordError
from data_builders.schema import validate_example
from data_builders.single_hop.sentences import sentence_at, split_sentences
from data_builders.single_hop.squad import SquadConverter

CONTEXT = "The Tin Boat is a film. It was made by Ada Moll in 1950. Ada Moll liked it."
OTHER = "Elm Hill is a hill. It has no elms."
BOAT = {"id": "b1", "question": "Who made it? ", "answers": [{"text": "Ada Moll", "answer_start": 39}]}
HILL = {"id": "h1", "question": "Who planted the elms?", "answers": [], "is_impossible": True}


def nested(*qas: Any, **changes: Any) -> dict[str, Any]:
    paragraphs = [{"context": CONTEXT, "qas": list(qas)}, {"context": OTHER, "qas": [HILL]}]
    return {"version": "v2.0", "data": [{"title": "The_Tin_Boat", "paragraphs": paragraphs}], **changes}


def build(
    path: Path, corpus: list[dict[str, Any]] | None = None, on_error: str = "raise"
) -> tuple[list[dict[str, Any]], DocumentStore, ErrorPolicy]:
    converter, store, policy = SquadConverter(), DocumentStore(), ErrorPolicy(on_error)
    for record in corpus or []:
        converter.add_corpus_record(record, store)
    for located in converter.rows(path, ErrorPolicy("skip")):
        try:
            converter.add_documents(located.record, store)
        except RecordError:
            continue
    examples = []
    for located in converter.rows(path, policy):
        try:
            examples.append(converter.example(located.record, store, f"file-{located.line}"))
        except RecordError as error:
            policy.handle(error.at(located.where))
        except Dropped as dropped:
            policy.drop(dropped)
    for example in examples:
        validate_example(example, store)
    return examples, store, policy


def write(path: Path, value: Any, **options: Any) -> Path:
    path.write_text(json.dumps(value, **options), encoding="utf-8")
    return path


def flat(question: dict[str, Any]) -> dict[str, Any]:
    return {"title": "The Tin Boat", "context": CONTEXT, **question}


HUB = flat({**BOAT, "answers": {"text": ["Ada Moll", "Ada Moll"], "answer_start": [39, 39]}})


@pytest.mark.parametrize(
    "value",
    [
        nested(BOAT),
        {"data": nested(BOAT)["data"], "version": "1.1"},
        nested(BOAT)["data"],
        [{"context": CONTEXT, "title": "The Tin Boat", "qas": [BOAT]}],
        [HUB],
        HUB,
        flat({**BOAT, "answers": ["Ada Moll"]}),
    ],
    ids=["squad 2", "data first", "articles", "paragraphs", "hub", "one line", "texts"],
)
@pytest.mark.parametrize("indent", [None, 2])
def test_layouts_give_the_same_example(tmp_path: Path, value: Any, indent: int | None) -> None:
    if isinstance(value, dict) and "data" not in value:
        indent = None  # one object over several lines is no JSON lines file
    examples, store, _ = build(write(tmp_path / "dev.json", value, indent=indent))
    document = store[examples[0]["positives"][0][0]]
    assert (document.title, document.text) == ("The Tin Boat", CONTEXT)
    assert examples == [
        {
            "id": "b1",
            "messages": [
                {"role": "user", "content": "Who made it?"},
                {
                    "role": "assistant",
                    "content": f"Who made it?[RQ]<paragraph>The Tin Boat\n{CONTEXT}</paragraph> Ada Moll\n"
                    "Answer: Ada Moll",
                },
            ],
            "positives": [["The Tin Boat"]],
            "negatives": [[]],
            "question": "Who made it?",
            "answers": ["Ada Moll"],
            "meta": '{"answer_sentence": 1}',
        }
    ]


def test_corpus_with_passage_ids(tmp_path: Path) -> None:
    corpus = [{"id": 0, "title": "The Tin Boat", "paragraph": 0, "text": CONTEXT}, {"id": 1, "title": "", "text": "x"}]
    question = {"id": "b1", "question": "Who?", "answers": ["Ada Moll"], "passage_id": 0}
    examples, store, _ = build(write(tmp_path / "dev.jsonl", question), corpus)
    assert examples[0]["positives"] == [["0"]]
    assert examples[0]["meta"] == '{"answer_sentence": 1}'
    assert store["0"].sentences == tuple(span.text for span in split_sentences(CONTEXT))
    with pytest.raises(RecordError, match="dev.jsonl, line 1: `passage_id` 5 is not in the corpus"):
        build(write(tmp_path / "dev.jsonl", {**question, "passage_id": 5}), corpus)


def test_the_start_tells_equal_answers_apart(tmp_path: Path) -> None:
    second = CONTEXT.rindex("Ada Moll")
    value = nested({**BOAT, "answers": [{"text": "Ada Moll", "answer_start": second}]})
    assert build(write(tmp_path / "a.json", value))[0][0]["meta"] == '{"answer_sentence": 2}'
    # A start that is wrong is not believed; an answer that is not there has no sentence.
    value = nested({**BOAT, "answers": [{"text": "Ada Moll", "answer_start": 3}]}, rest=1)
    assert build(write(tmp_path / "b.json", value))[0][0]["meta"] == '{"answer_sentence": 1}'
    value = nested({**BOAT, "answers": [{"text": "Ben Oak", "answer_start": 3}]})
    assert build(write(tmp_path / "c.json", value))[0][0]["meta"] == '{"answer_sentence": null}'


def test_rows_add_up(tmp_path: Path) -> None:
    no_answer = {"id": "b2", "question": "Why?", "answers": []}
    plausible = {**HILL, "id": "b3", "plausible_answers": [{"text": "Ada", "answer_start": 1}]}
    blank = {"id": "b4", "question": " ", "answers": [{"text": "Ada", "answer_start": 1}]}
    untold = {"id": "b5", "question": "When?"}
    value = nested(BOAT, no_answer, plausible, blank, untold, "no question")
    examples, store, policy = build(write(tmp_path / "dev.json", value), on_error="skip")
    assert [example["id"] for example in examples] == ["b1"]
    assert policy.skipped == {"unanswerable": 3, "malformed_field": 1, "missing_field": 1, "malformed_question": 1}
    assert len(store) == 2  # a context once, whatever the number of its questions


def test_compressed_and_mrqa(tmp_path: Path) -> None:
    path = tmp_path / "dev.json.gz"
    path.write_bytes(gzip.compress(json.dumps(nested(BOAT)).encode()))
    assert len(build(path)[0]) == 1
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(RecordError, match="dev.json.gz"):
        build(path)
    mrqa = [{"header": {"dataset": "x"}}, {"context": CONTEXT, "qas": [{**BOAT, "answers": ["Ada Moll"], "qid": "m"}]}]
    del mrqa[1]["qas"][0]["id"]  # type: ignore[index]
    path = tmp_path / "dev.jsonl"
    path.write_text("\n".join(map(json.dumps, mrqa)))
    examples, store, _ = build(path)
    assert examples[0]["id"] == "m"
    assert store[examples[0]["positives"][0][0]].title == ""


def test_parquet_file_of_the_hub(tmp_path: Path) -> None:
    Dataset.from_list([HUB]).to_parquet(tmp_path / "train.parquet")
    assert build(tmp_path / "train.parquet")[0] == build(write(tmp_path / "train.jsonl", HUB))[0]


@pytest.mark.parametrize("cut", [10, 70_000])
def test_unreadable_bytes(tmp_path: Path, cut: int) -> None:
    raw = json.dumps(nested(BOAT, *[{**BOAT, "question": "Why? " * 100}] * 400)).encode()
    (tmp_path / "dev.json").write_bytes(raw[:cut] + b"\xff" + raw[cut:])
    with pytest.raises(RecordError, match="dev.json"):
        build(tmp_path / "dev.json")
    compressed = gzip.compress(raw, compresslevel=0)
    (tmp_path / "dev.json").write_bytes(compressed[: cut + 20])
    with pytest.raises(RecordError, match="dev.json"):
        build(tmp_path / "dev.json")
    (tmp_path / "dev.json").write_bytes(compressed)
    assert len(build(tmp_path / "dev.json")[0]) == 401


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (json.dumps(nested(BOAT))[:-40], r"dev.json, data\[0\]: not valid JSON"),
        (json.dumps(nested(BOAT))[:-1], "dev.json, behind data: not valid JSON"),
        (json.dumps({"data": [nested(BOAT)["data"][0], 3]}), r"dev.json, data\[1\]: expected an object"),
        (json.dumps({"data": [{"title": "x"}]}), r"data\[0\]: `paragraphs` must be a list"),
        (json.dumps({"data": [{"paragraphs": [{"qas": None}]}]}), r"data\[0\].paragraphs\[0\]: a paragraph must"),
        (json.dumps({"data": [{"paragraphs": [{"qas": [BOAT]}]}]}), r"data\[0\].paragraphs\[0\].qas\[0\]: .*context"),
        (json.dumps({"data": [{"paragraphs": [{"context": "a [RQ]", "qas": [BOAT]}]}]}), "contains one of"),
        (json.dumps({**HUB, "answers": {"text": ["a"], "answer_start": []}}), "line 1: .* of one length"),
        (json.dumps({**HUB, "answers": [3]}), "line 1: every answer must be text"),
    ],
)
def test_fault_is_reported_with_its_place(tmp_path: Path, text: str, match: str) -> None:
    path = tmp_path / "dev.json"
    path.write_text(text)
    with pytest.raises(RecordError, match=match):
        build(path)
    skipped = build(path, on_error="skip")[2].skipped
    assert sum(skipped.values()) - skipped["unanswerable"] == 1


def test_large_files_are_read_piece_by_piece(tmp_path: Path) -> None:
    articles = [
        {"title": f"T{number}", "paragraphs": [{"context": f"{number} " + "word " * 5000, "qas": [BOAT]}]}
        for number in range(20)
    ]
    rows = list(SquadConverter().rows(write(tmp_path / "dev.json", {"data": articles}), ErrorPolicy()))
    assert [row.record["title"] for row in rows] == [f"T{number}" for number in range(20)]
    assert [row.line for row in rows] == list(range(1, 21))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A cat. A dog!", ["A cat.", "A dog!"]),
        ("Mr. Oak met A. B. Moll. “Why?” he said.", ["Mr. Oak met A. B. Moll.", "“Why?” he said."]),
        ("It is 3.5 kg, i.e. little. 4 came.", ["It is 3.5 kg, i.e. little.", "4 came."]),
        ("No end", ["No end"]),
        (" \n", []),
    ],
)
def test_sentences(text: str, expected: list[str]) -> None:
    assert [span.text for span in split_sentences(text)] == expected


@given(st.text(alphabet=st.sampled_from('aB.?!" \n1é'), max_size=40))
def test_sentences_keep_every_character_and_its_place(text: str) -> None:
    spans = split_sentences(text)
    assert "".join("".join(span.text for span in spans).split()) == "".join(text.split())
    for number, span in enumerate(spans):
        assert text[span.start : span.start + len(span.text)] == span.text
        assert sentence_at(spans, span.start) == number
