"""Records become documents and examples, whatever their layout."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from builder_records import PASSAGES, bridge_comparison, column_layout, record, write_corpus, write_lines
from datasets import load_dataset

from data_builders.multi_hop.builder import MultiHop, build_multi_hop, build_splits, main
from data_builders.schema import DOCUMENTS_FEATURES, EXAMPLES_FEATURES


def assistant(example: dict[str, Any]) -> str:
    return str(example["messages"][1]["content"])


def test_assistant_content_is_exact(tmp_path: Path) -> None:
    _, examples, _ = build_multi_hop(write_lines(tmp_path / "a.jsonl", [record()]))
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
    assert json.loads(examples[0]["meta"])["decomposition"] == "given"
    assert examples.features == EXAMPLES_FEATURES


def test_both_layouts_and_a_json_array_give_the_same(tmp_path: Path) -> None:
    first = build_multi_hop(write_lines(tmp_path / "a.jsonl", [record()]))
    second = build_multi_hop(write_lines(tmp_path / "b.jsonl", [column_layout(record())]))
    array = tmp_path / "c.json"
    array.write_text(json.dumps([record(), record(id="r2")], indent=1), encoding="utf-8")
    third = build_multi_hop(array)
    assert first[0].to_list() == second[0].to_list() == third[0].to_list()
    assert first[1].to_list() == second[1].to_list() == third[1].to_list()[:1]
    assert first[0].features == DOCUMENTS_FEATURES


def test_negatives_are_rotated_and_never_gold(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", [record()])
    _, examples, _ = build_multi_hop(path, num_negatives=2)
    assert examples[0]["negatives"] == [["The Red Kite", "Ben Oak"], ["Ben Oak", "Elm Hill"]]
    _, examples, report = build_multi_hop(path, num_negatives=0)
    assert examples[0]["negatives"] == [[], []]
    assert report["hops_without_negatives"] == 2


def test_corpus_ids_and_context_titles(tmp_path: Path) -> None:
    fields = record(context=None, context_titles=list(PASSAGES))
    documents, examples, report = build_multi_hop(
        write_lines(tmp_path / "a.jsonl", [fields]), write_corpus(tmp_path / "corpus.jsonl")
    )
    assert documents["id"][:2] == ["0", "1"]
    assert examples[0]["positives"] == [["0"], ["1"]]
    assert report["documents"] == len(PASSAGES) == len(documents)


def test_one_title_with_two_texts_gets_two_ids(tmp_path: Path) -> None:
    other = record(id="r2", context=[["The Tin Boat", ["Another text."]], *record()["context"][1:]])
    documents, examples, _ = build_multi_hop(write_lines(tmp_path / "a.jsonl", [record(), other]))
    ids = [example["positives"][0][0] for example in examples]
    assert ids[0] == "The Tin Boat" and ids[1].startswith("The Tin Boat [")
    assert set(ids) < set(documents["id"])
    assert "Another text." in assistant(examples[1])


def test_a_hash_in_a_title_is_no_sentence_number(tmp_path: Path) -> None:
    context = [["Song #9", ["Song #9 is by Ada Moll."]], *record()["context"][1:]]
    step = {"sub_question": "Who sang?", "answer": "Ada Moll", "title": "Song #9"}
    fields = record(context=context, decomposition=[step], supporting_facts=[["Song #9", 0]])
    _, examples, _ = build_multi_hop(write_lines(tmp_path / "a.jsonl", [fields]))
    assert examples[0]["positives"] == [["Song %239"]]


def test_without_decomposition_every_supporting_title_is_a_hop(tmp_path: Path) -> None:
    fields = record(decomposition=None, supporting_facts=[["Ada Moll", 0], ["Ada Moll", 1], ["The Tin Boat", 0]])
    _, examples, report = build_multi_hop(write_lines(tmp_path / "a.jsonl", [fields]))
    assert examples[0]["positives"] == [["Ada Moll"], ["The Tin Boat"]]
    assert json.loads(examples[0]["meta"])["decomposition"] == "heuristic"
    lines = assistant(examples[0]).split("\n")
    assert lines[0] == "When was the director of The Tin Boat born?[RQ]<paragraph>Ada Moll"
    assert lines[1].endswith("</paragraph>") and lines[-1] == "Answer: 4 May 1950"
    assert report["decomposition/heuristic"] == 1


def test_comparison_line_stands_before_the_answer(tmp_path: Path) -> None:
    _, examples, report = build_multi_hop(write_lines(tmp_path / "a.jsonl", [bridge_comparison()]))
    assert assistant(examples[0]).endswith("\nCompare: 1950-05-04 < 1950-06-07\nAnswer: The Tin Boat")
    assert report["comparison_lines"] == 1


def test_another_query_token(tmp_path: Path) -> None:
    _, examples, _ = build_multi_hop(write_lines(tmp_path / "a.jsonl", [record()]), query_token="<find>")
    assert assistant(examples[0]).count("<find>") == 2 and "[RQ]" not in assistant(examples[0])


def test_a_record_without_id_gets_file_and_line(tmp_path: Path) -> None:
    _, examples, _ = build_multi_hop(write_lines(tmp_path / "a.jsonl", [record(), record(id=None)]))
    assert examples["id"][:] == ["r1", "a-2"]


def test_splits_share_documents(tmp_path: Path) -> None:
    files = {name: write_lines(tmp_path / f"{name}.jsonl", [record(id=name)]) for name in ("train", "dev")}
    documents, examples, report = build_splits(files)
    assert len(documents) == len(PASSAGES)
    assert list(examples) == ["train", "dev"] and report["dev"]["examples"] == 1


@pytest.mark.parametrize("config", ["documents", "examples"])
def test_builder_gives_what_the_function_gives(tmp_path: Path, config: str) -> None:
    path, corpus = write_lines(tmp_path / "a.jsonl", [record()]), write_corpus(tmp_path / "corpus.jsonl")
    builder = MultiHop(
        config_name=config,
        data_files={"train": str(path)},
        corpus_file=str(corpus),
        num_negatives=1,
        cache_dir=str(tmp_path / "cache"),
    )
    builder.download_and_prepare()
    documents, examples, _ = build_multi_hop(path, corpus, num_negatives=1)
    expected = documents if config == "documents" else examples
    assert builder.as_dataset(split="train").to_list() == expected.to_list()


def test_a_changed_corpus_is_built_anew(tmp_path: Path) -> None:
    path, corpus = write_lines(tmp_path / "a.jsonl", [record()]), write_corpus(tmp_path / "corpus.jsonl")
    options = {"data_files": {"train": str(path)}, "corpus_file": str(corpus), "cache_dir": str(tmp_path / "cache")}
    before = MultiHop(config_name="documents", **options).cache_dir
    with corpus.open("a", encoding="utf-8") as stream:
        stream.write('{"id": "new", "title": "New", "sentences": ["New."]}\n')
    assert MultiHop(config_name="documents", **options).cache_dir != before


def test_command_line_writes_a_dataset_repository(tmp_path: Path) -> None:
    files = [f"{name}={write_lines(tmp_path / f'{name}.jsonl', [record(id=name)])}" for name in ("train", "dev")]
    for out in ("one", "two"):
        main(["--examples", *files, "--out", str(tmp_path / out)])
    names = sorted(str(p.relative_to(tmp_path / "one")) for p in (tmp_path / "one").rglob("*") if p.is_file())
    assert names == ["README.md", "documents/train.parquet", "examples/dev.parquet", "examples/train.parquet"]
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    cache = str(tmp_path / "cache")
    documents = load_dataset(str(tmp_path / "one"), "documents", split="train", cache_dir=cache)
    assert set(documents["title"]) == set(PASSAGES)
    examples = load_dataset(str(tmp_path / "one"), "examples", cache_dir=cache)
    assert examples["dev"][0]["id"] == "dev" and examples["train"].features == EXAMPLES_FEATURES


def test_builders_never_import_torch() -> None:
    code = (
        "import sys; sys.modules['torch'] = sys.modules['transformers'] = None\n"
        "import data_builders.multi_hop.builder, data_builders.facts.builder\n"
        "assert 'onegen_hf' not in sys.modules"
    )
    root = Path(__file__).parents[2]
    environment = {"PYTHONPATH": str(root), "PATH": "", "USE_TORCH": "0", "HOME": "/nonexistent"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=root)
    assert done.returncode == 0, done.stderr
