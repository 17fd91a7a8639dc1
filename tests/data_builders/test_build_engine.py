"""The engine: sources, counts that add up, repositories that are whole or not there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import load_dataset
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.builder_records import PASSAGES, build, read_split, record, write_corpus, write_lines

from data_builders.build import build_repository
from data_builders.builder import CorpusBuilder
from data_builders.converter import Converter
from data_builders.documents import DocumentStore
from data_builders.errors import Dropped, RecordError
from data_builders.features import DOCUMENTS_FEATURES, EXAMPLES_FEATURES
from data_builders.multi_hop.converter import MultiHopConverter
from data_builders.parquet_shards import ShardWriter
from data_builders.registry import CONVERTERS, converter_class
from data_builders.text_spool import TextSpool


@dataclass
class FateConverter(Converter):
    """Does with each row what its `fate` says."""

    name: ClassVar[str] = "fate"
    title: ClassVar[str] = "Fate"

    def add_documents(self, record: Mapping[str, Any], store: DocumentStore) -> None:
        store.add("Title", ["Text."])

    def example(self, record: Mapping[str, Any], store: DocumentStore, default_id: str) -> dict[str, Any]:
        fate = record["fate"]
        if fate == "dropped":
            raise Dropped("of no use")
        if fate == "error":
            raise RecordError("broken", "it is broken; mend it.")
        return {
            "id": default_id,
            "messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": "a[RQ]"}],
            "positives": [["Nowhere" if fate == "unknown id" else "Title"]],
            "negatives": [] if fate == "too few" else [[]],
            "question": "?",
            "answers": [],
            "meta": "{}",
        }


FATES = {
    "good": None,
    "dropped": "of no use",
    "error": "broken",
    "unknown id": "invalid_example",
    "too few": "invalid_example",
    "missing": "malformed_record",
    "not json": "invalid_json",
}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(fates=st.lists(st.sampled_from(list(FATES)), max_size=12), split_at=st.integers(0, 12))
def test_rows_in_are_examples_and_dropped(tmp_path: Path, fates: list[str], split_at: int) -> None:
    fates = [*fates, "good"]
    lines = ["{" if fate == "not json" else json.dumps({} if fate == "missing" else {"fate": fate}) for fate in fates]
    parts = [part for part in (lines[:split_at], lines[split_at:]) if part]
    files = [tmp_path / f"{number}.jsonl" for number in range(len(parts))]
    for file, part in zip(files, parts, strict=True):
        file.write_text("\n".join(part))
    built = build(tmp_path / "out", files, converter=FateConverter(), on_error="skip")
    counts = built.counts
    assert counts["rows"] == len(fates) == counts["examples"] + sum(counts["dropped"].values())
    assert counts["examples"] == len(built.examples) == fates.count("good")
    for reason in set(FATES.values()) - {None}:
        assert counts["dropped"].get(reason, 0) == sum(FATES[fate] == reason for fate in fates)


@pytest.mark.parametrize("fate", [fate for fate in FATES if fate not in ("good", "dropped", "not json")])
def test_an_error_names_the_line_and_leaves_nothing(tmp_path: Path, fate: str) -> None:
    path = write_lines(tmp_path / "a.jsonl", [{"fate": "good"}, {} if fate == "missing" else {"fate": fate}])
    with pytest.raises(RecordError, match=r"^a\.jsonl, line 2: "):
        build(tmp_path / "out", path, converter=FateConverter())
    assert list((tmp_path / "out").iterdir()) == []


def test_no_usable_row_is_an_error(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", [{"fate": "dropped"}] * 3)
    with pytest.raises(ValueError, match=r"a\.jsonl: no usable row; dropped by reason: \{'of no use': 3\}"):
        build(tmp_path / "out", path, converter=FateConverter())
    (tmp_path / "b.json").write_text("[]")
    with pytest.raises(ValueError, match=r"b\.json: no usable row; dropped by reason: there is none"):
        build(tmp_path / "out", tmp_path / "b.json", converter=FateConverter())


def test_a_failed_build_keeps_the_one_before(tmp_path: Path) -> None:
    good, bad = write_lines(tmp_path / "a.jsonl", [record()]), write_lines(tmp_path / "b.jsonl", [record(), {}])
    before = build(tmp_path / "out", good)
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(RecordError):
        build(tmp_path / "out", bad)
    assert read_split(tmp_path / "out" / "examples") == before.examples
    build(tmp_path / "out", write_lines(tmp_path / "c.jsonl", [record(id="new")]))
    assert [row["id"] for row in read_split(tmp_path / "out" / "examples")] == ["new"]
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"


def test_a_killed_build_does_not_look_whole(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", (record(id=f"r{n}") for n in range(20_000)))
    code = (
        "import sys; from data_builders.build import build_repository\n"
        "from data_builders.multi_hop.converter import MultiHopConverter\n"
        "build_repository(MultiHopConverter(), sys.argv[1], {'train': sys.argv[2]})"
    )
    root = Path(__file__).parents[2]
    process = subprocess.Popen([sys.executable, "-c", code, tmp_path / "out", path], cwd=root)
    while not list((tmp_path / "out").glob(".building/examples/*.parquet")):
        assert process.poll() is None, "the build ended before it could be killed"
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "out" / "README.md").exists()
    assert not list((tmp_path / "out").glob("*/*.parquet"))
    assert len(build(tmp_path / "out", path, limit=5).examples) == 5
    assert not (tmp_path / "out" / ".building").exists()


def test_the_repository_opens_with_load_dataset(tmp_path: Path) -> None:
    files = {name: write_lines(tmp_path / f"{name}.jsonl", [record(id=name)]) for name in ("train", "dev")}
    for out in ("one", "two"):
        report = build_repository(MultiHopConverter(), tmp_path / out, files)
    names = sorted(str(p.relative_to(tmp_path / "one")) for p in (tmp_path / "one").rglob("*") if p.is_file())
    shard = "00000-of-00001.parquet"
    assert names == [
        "README.md",
        f"documents/train-{shard}",
        f"examples/dev-{shard}",
        f"examples/train-{shard}",
        "report.json",
    ]
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
        assert str(tmp_path).encode() not in (tmp_path / "one" / name).read_bytes()
    assert json.loads((tmp_path / "one" / "report.json").read_text()) == report
    cache = str(tmp_path / "cache")
    documents = load_dataset(str(tmp_path / "one"), "documents", split="train", cache_dir=cache)
    assert set(documents["title"]) == set(PASSAGES) and documents.features == DOCUMENTS_FEATURES
    examples = load_dataset(str(tmp_path / "one"), "examples", cache_dir=cache)
    assert examples["dev"][0]["id"] == "dev" and examples["train"].features == EXAMPLES_FEATURES
    streamed = load_dataset(str(tmp_path / "one"), "examples", split="dev", streaming=True)
    assert [row["id"] for row in streamed] == ["dev"]


def test_shards_hold_all_rows_in_order(tmp_path: Path) -> None:
    rows = [{"id": str(n), "title": "t", "sentences": ["x" * 100]} for n in range(3500)]
    with ShardWriter(tmp_path, "train", DOCUMENTS_FEATURES, bytes_per_shard=1) as writer:
        for row in rows:
            writer.write(row)
    assert sorted(file.name for file in tmp_path.iterdir()) == [f"train-{n:05d}-of-00004.parquet" for n in range(4)]
    assert read_split(tmp_path) == rows


def test_a_folder_is_read_in_the_order_of_names(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    (folder / "b").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    write_lines(folder / "b" / "1.jsonl", [record(id="second")])
    write_lines(folder / "a.jsonl", [record(id="first")])
    write_lines(folder / ".hidden" / "c.jsonl", [record(id="hidden")])
    (folder / "LICENSE").write_text("no data")
    assert [row["id"] for row in build(tmp_path / "out", folder).examples] == ["first", "second"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no file in this folder ends in one of .jsonl"):
        build(tmp_path / "out", tmp_path / "empty")


def make_dataset(folder: Path) -> Path:
    """A dataset as the Hub has them, with a config."""
    folder.mkdir()
    pq.write_table(pa.Table.from_pylist([{"id": n, "fate": "good"} for n in range(3)]), folder / "dev.parquet")
    (folder / "README.md").write_text(
        "---\nconfigs:\n- config_name: hard\n  data_files:\n  - split: validation\n    path: dev.parquet\n---\n"
    )
    return folder


def test_a_dataset_is_streamed(tmp_path: Path) -> None:
    name = make_dataset(tmp_path / "fates")
    built = build(tmp_path / "out", f"{name}:hard:validation", converter=FateConverter())
    assert built.counts["examples"] == 3 and "fates:hard:validation" in (tmp_path / "out" / "README.md").read_text()
    assert not list((tmp_path / "out").rglob("*.jsonl"))
    report = build_repository(FateConverter(), tmp_path / "two", {"validation": f"{name}:hard"}, limit=2)
    assert report["splits"]["validation"]["rows"] == 2
    for source, message in ((f"{name}:easy", "config 'easy', split 'train'"), (f"{name}:hard:x", "split 'x'")):
        with pytest.raises(
            ValueError, match=f"cannot load the {message.partition(',')[0] if 'easy' in source else ''}"
        ):
            build(tmp_path / "out", source, converter=FateConverter())


@pytest.mark.parametrize(
    ("examples", "options", "message"),
    [
        ({}, {}, "`examples` is empty"),
        ({"train": "missing.jsonl"}, {}, "missing.jsonl: no such file or folder"),
        ({"train": "some/missing.jsonl"}, {}, "no such file or folder"),
        ({"tr ain": "a.jsonl"}, {}, "the split 'tr ain' has no valid name"),
        ({"train": "a.jsonl"}, {"limit": 0}, "`limit` must be at least 1"),
        ({"train": "a.jsonl"}, {"on_error": "x"}, 'must be "raise" or "skip"'),
    ],
)
def test_options_are_checked(tmp_path: Path, examples: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        build_repository(FateConverter(), tmp_path / "out", examples, **options)


def test_a_corpus_without_a_usable_passage(tmp_path: Path) -> None:
    corpus = write_lines(tmp_path / "corpus.jsonl", [{"x": 1}])
    path = write_lines(tmp_path / "a.jsonl", [record()])
    with pytest.raises(RecordError, match=r"corpus\.jsonl, line 1: a corpus record needs"):
        build(tmp_path / "out", path, corpus)
    with pytest.raises(ValueError, match=r"corpus\.jsonl: no usable passage; .*malformed_document"):
        build(tmp_path / "out", path, corpus, on_error="skip")


@pytest.mark.parametrize("config", ["documents", "examples"])
def test_the_datasets_builder_gives_what_the_build_gives(tmp_path: Path, config: str) -> None:
    path, corpus = write_lines(tmp_path / "a.jsonl", [record()]), write_corpus(tmp_path / "corpus.jsonl")
    builder = CorpusBuilder(
        config_name=config,
        converter="multi-hop",
        examples={"train": str(path)},
        documents=str(corpus),
        options={"num_negatives": 1},
        cache_dir=str(tmp_path / "cache"),
    )
    builder.download_and_prepare()
    built = build(tmp_path / "out", path, corpus, converter=MultiHopConverter(num_negatives=1))
    assert builder.as_dataset(split="train").to_list() == (
        built.documents if config == "documents" else built.examples
    )


@pytest.mark.parametrize("changed", ["corpus", "examples", "options"])
def test_what_changed_is_built_anew(tmp_path: Path, changed: str) -> None:
    path, corpus = write_lines(tmp_path / "a.jsonl", [record()]), write_corpus(tmp_path / "corpus.jsonl")

    def cache_dir(**options: Any) -> str:
        sources = {"examples": {"train": str(path)}, "documents": str(corpus), "options": options}
        return str(CorpusBuilder(config_name="documents", cache_dir=str(tmp_path / "cache"), **sources).cache_dir)

    before = cache_dir()
    assert cache_dir() == before
    if changed == "options":
        assert cache_dir(num_negatives=2) != before
    else:
        with (corpus if changed == "corpus" else path).open("a", encoding="utf-8") as stream:
            stream.write("\n")
        assert cache_dir() != before


def test_every_builder_is_there() -> None:
    for name in CONVERTERS:
        assert converter_class(name).name == name
    with pytest.raises(ValueError, match="there is no builder 'x'; choose one of multi-hop, self-rag"):
        converter_class("x")


@given(
    texts=st.lists(st.lists(st.text(alphabet=st.characters(codec="utf-8")), max_size=4), max_size=20), data=st.data()
)
def test_texts_come_back_from_the_spool(texts: list[list[str]], data: st.DataObject) -> None:
    spool = TextSpool()
    for number, sentences in enumerate(texts):
        spool.append(sentences)
        earlier = data.draw(st.integers(0, number))
        assert spool[earlier] == tuple(texts[earlier])
    assert len(spool) == len(texts)
    assert [spool[number] for number in range(len(texts))] == [tuple(sentences) for sentences in texts]
