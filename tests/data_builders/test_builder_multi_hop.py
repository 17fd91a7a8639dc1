"""Records become documents and examples, whatever their layout."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.builder_records import (
    PASSAGES,
    bridge_comparison,
    build,
    column_layout,
    record,
    write_corpus,
    write_lines,
)

from data_builders.multi_hop.converter import MultiHopConverter


def assistant(example: dict[str, Any]) -> str:
    return str(example["messages"][1]["content"])


def test_assistant_content_is_exact(tmp_path: Path) -> None:
    examples = build(tmp_path / "out", write_lines(tmp_path / "a.jsonl", [record()])).examples
    assert examples[0]["messages"] == [
        {"role": "user", "content": "When was the director of The Tin Boat born?"},
        {
            "role": "assistant",
            "content": "Who directed The Tin Boat?[RQ]<paragraph>The Tin Boat\nThe Tin Boat is a film directed by "
            "Ada Moll. It has a boat in it.</paragraph> Ada Moll\nWhen was Ada Moll born?[RQ]<paragraph>Ada Moll\nAda "
            "Moll (4 May 1950) is a director.</paragraph> 4 May 1950\nAnswer: 4 May 1950",
        },
    ]
    assert examples[0]["positives"] == [["The Tin Boat"], ["Ada Moll"]]
    assert examples[0]["answers"] == ["4 May 1950", "May 4, 1950"]
    meta = json.loads(examples[0]["meta"])
    assert meta["decomposition"] == "given"
    assert meta["supporting_facts"] == [["The Tin Boat", 0], ["Ada Moll", 0]]


def nested_as_text(fields: dict[str, Any]) -> dict[str, Any]:
    nested = ("context", "supporting_facts", "decomposition")
    return {name: json.dumps(value) if name in nested else value for name, value in fields.items()}


def flash_rag(fields: dict[str, Any]) -> dict[str, Any]:
    columns = column_layout(fields)
    context = {"title": columns["context"]["title"], "content": columns["context"]["sentences"]}
    metadata = {"type": fields["type"], "supporting_facts": columns["supporting_facts"], "context": context}
    return {
        "id": fields["id"], "question": fields["question"], "metadata": metadata,
        "golden_answers": fields["answer_aliases"], "decomposition": fields["decomposition"],
    }  # fmt: skip


def objects(fields: dict[str, Any]) -> dict[str, Any]:
    context = [{"title": title, "content": sentences} for title, sentences in fields["context"]]
    facts = [{"title": title, "sent_id": float(number)} for title, number in fields["supporting_facts"]]
    return {**fields, "context": context, "supporting_facts": facts}


@pytest.mark.parametrize(
    "layout", [column_layout, nested_as_text, flash_rag, objects], ids=lambda layout: layout.__name__
)
def test_every_layout_gives_the_same(tmp_path: Path, layout: Any) -> None:
    first = build(tmp_path / "one", write_lines(tmp_path / "a.jsonl", [record()]))
    second = build(tmp_path / "two", write_lines(tmp_path / "b.jsonl", [layout(record())]))
    assert first.documents == second.documents
    assert first.examples == second.examples


@pytest.mark.parametrize("form", ["array", "gzip", "parquet", "byte order mark", "object over many lines"])
def test_every_file_form_gives_the_same(tmp_path: Path, form: str) -> None:
    rows = [record(), record(id="r2")][: 1 if form.startswith("object") else 2]
    expected = build(tmp_path / "one", write_lines(tmp_path / "a.jsonl", rows))
    path = tmp_path / "b.json"
    if form == "array":
        path.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    elif form == "gzip":
        path = tmp_path / "b.jsonl.gz"
        path.write_bytes(gzip.compress((tmp_path / "a.jsonl").read_bytes()))
    elif form == "parquet":
        path = tmp_path / "b.parquet"
        pq.write_table(pa.Table.from_pylist([column_layout(row) for row in rows]), path)
    elif form == "byte order mark":
        path.write_bytes(b"\xef\xbb\xbf" + (tmp_path / "a.jsonl").read_bytes())
    else:
        path.write_text(json.dumps(rows[0], indent=2), encoding="utf-8")
    found = build(tmp_path / "two", path)
    assert found.documents == expected.documents
    assert found.examples == expected.examples


def test_negatives_are_rotated_and_never_gold(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", [record()])
    built = build(tmp_path / "out", path, converter=MultiHopConverter(num_negatives=2))
    assert built.examples[0]["negatives"] == [["The Red Kite", "Ben Oak"], ["Ben Oak", "Elm Hill"]]
    built = build(tmp_path / "out", path, converter=MultiHopConverter(num_negatives=0))
    assert built.examples[0]["negatives"] == [[], []]
    assert built.counts["hops_without_negatives"] == 2


def test_corpus_ids_and_context_titles(tmp_path: Path) -> None:
    fields = record(context=None, context_titles=list(PASSAGES))
    built = build(
        tmp_path / "out", write_lines(tmp_path / "a.jsonl", [fields]), write_corpus(tmp_path / "corpus.jsonl")
    )
    assert [document["id"] for document in built.documents] == [str(number) for number in range(len(PASSAGES))]
    assert built.examples[0]["positives"] == [["0"], ["1"]]
    assert built.report["documents"] == {"documents": len(PASSAGES), "rows": len(PASSAGES), "dropped": {}}


def test_a_record_without_context_is_looked_up_in_the_corpus(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", [record(context=None)])
    built = build(tmp_path / "out", path, write_corpus(tmp_path / "corpus.jsonl"))
    assert built.examples[0]["positives"] == [["0"], ["1"]] and built.examples[0]["negatives"] == [[], []]


def test_one_title_with_two_texts_gets_two_ids(tmp_path: Path) -> None:
    other = record(id="r2", context=[["The Tin Boat", ["Another text."]], *record()["context"][1:]])
    built = build(tmp_path / "out", write_lines(tmp_path / "a.jsonl", [record(), other]))
    ids = [example["positives"][0][0] for example in built.examples]
    assert ids[0] == "The Tin Boat" and ids[1].startswith("The Tin Boat [")
    assert set(ids) < {document["id"] for document in built.documents}
    assert "Another text." in assistant(built.examples[1])


def test_a_hash_in_a_title_is_no_sentence_number(tmp_path: Path) -> None:
    context = [["Song #9", ["Song #9 is by Ada Moll."]], *record()["context"][1:]]
    step = {"sub_question": "Who sang?", "answer": "Ada Moll", "title": "Song #9"}
    fields = record(context=context, decomposition=[step], supporting_facts=None)
    built = build(tmp_path / "out", write_lines(tmp_path / "a.jsonl", [fields]))
    assert built.examples[0]["positives"] == [["Song %239"]]


def test_titles_spelled_otherwise_are_matched(tmp_path: Path) -> None:
    context = [["Boat &amp; Co", ["Boat & Co is a firm."]], *record()["context"][1:]]
    step = {"sub_question": "What is it?", "answer": "firm", "title": "boat & Co"}
    fields = record(context=context, decomposition=[step], supporting_facts=[["Boat & Co", 0]])
    built = build(tmp_path / "out", write_lines(tmp_path / "a.jsonl", [fields]))
    assert built.examples[0]["positives"] == [["Boat &amp; Co"]]


def test_the_rule_follows_what_is_known(tmp_path: Path) -> None:
    fields = record(decomposition=None, supporting_facts=[["Ada Moll", 0], ["Ada Moll", 1], ["The Tin Boat", 0]])
    built = build(tmp_path / "out", write_lines(tmp_path / "a.jsonl", [fields]))
    assert built.examples[0]["positives"] == [["The Tin Boat"], ["Ada Moll"]]
    lines = assistant(built.examples[0]).split("\n")
    assert lines[0] == "The Tin Boat: When was the director of The Tin Boat born?[RQ]<paragraph>The Tin Boat"
    assert lines[1].endswith("</paragraph> Ada Moll")
    assert lines[2] == "Ada Moll: When was the director of The Tin Boat born?[RQ]<paragraph>Ada Moll"
    assert lines[-1] == "Answer: 4 May 1950"
    assert built.counts["meta"]["decomposition"] == {"heuristic": 1}


def test_comparison_line_stands_before_the_answer(tmp_path: Path) -> None:
    built = build(tmp_path / "out", write_lines(tmp_path / "a.jsonl", [bridge_comparison()]))
    assert assistant(built.examples[0]).endswith("\nCompare: 1950-05-04 < 1950-06-07\nAnswer: The Tin Boat")
    assert built.counts["meta"]["comparison"] == {"True": 1}


def test_order_below_the_comparison_line(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", [bridge_comparison()])
    built = build(tmp_path / "out", path, converter=MultiHopConverter(write_order=True))
    other = bridge_comparison()["decomposition"][1]["title"]
    expected = f"\nCompare: 1950-05-04 < 1950-06-07\nLater: {other}\n" + 2 * "Earlier: The Tin Boat\n"
    assert assistant(built.examples[0]).endswith(f"{expected}Answer: The Tin Boat")


def test_another_query_token(tmp_path: Path) -> None:
    converter = MultiHopConverter(query_token="<find>")
    built = build(tmp_path / "out", write_lines(tmp_path / "a.jsonl", [record()]), converter=converter)
    assert assistant(built.examples[0]).count("<find>") == 2 and "[RQ]" not in assistant(built.examples[0])


def test_supporting_facts_count_the_sentences_of_the_document(tmp_path: Path) -> None:
    context = [["The Tin Boat", ["", "A film directed by Ada Moll.", " ", "Two hours."]], *record()["context"][1:]]
    facts = [["The Tin Boat", 1], ["The Tin Boat", 3], ["Ada Moll", 0]]
    path = write_lines(tmp_path / "a.jsonl", [record(context=context, supporting_facts=facts)])
    (example,) = build(tmp_path / "out", path).examples
    assert json.loads(example["meta"])["supporting_facts"] == [
        ["The Tin Boat", 0],
        ["The Tin Boat", 1],
        ["Ada Moll", 0],
    ]


def test_a_record_without_id_gets_file_and_line(tmp_path: Path) -> None:
    built = build(tmp_path / "out", write_lines(tmp_path / "a.jsonl", [record(), record(id=None)]))
    assert [example["id"] for example in built.examples] == ["r1", "a-2"]


def test_questions_without_answer_are_dropped(tmp_path: Path) -> None:
    rows = [record(), record(answer=None, answer_aliases=None), record(answer="")]
    counts = build(tmp_path / "out", write_lines(tmp_path / "a.jsonl", rows)).counts
    assert (counts["rows"], counts["examples"], counts["dropped"]) == (3, 1, {"no_answer": 2})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_negatives": -1}, "`num_negatives` must not be negative"),
        ({"num_title_negatives": -1}, "`num_title_negatives` must not be negative"),
        ({"llm_url": "http://localhost"}, "needs `llm_model` and `llm_cache`"),
        ({"llm_workers": 0}, "`llm_workers` must be at least 1"),
    ],
)
def test_options_are_checked(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MultiHopConverter(**options)


def test_builders_never_import_torch() -> None:
    code = (
        "import sys; sys.modules['torch'] = sys.modules['transformers'] = None\n"
        "import data_builders.build, data_builders.builder, data_builders.facts.builder\n"
        "from data_builders.registry import CONVERTERS, converter_class\n"
        "for name in ('multi-hop', 'own'): converter_class(name)\n"
        "assert 'onegen_hf' not in sys.modules"
    )
    root = Path(__file__).parents[2]
    environment = {"PYTHONPATH": str(root), "PATH": "", "USE_TORCH": "0", "HOME": "/nonexistent"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=root)
    assert done.returncode == 0, done.stderr
