"""Bringing shards and indexes up to date: only texts that are new are encoded."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.index_fixtures import CountedEmbed, make_corpus, make_model
from support.shard_workers import contents, start_worker

from onegen_hf import Passage, PassageIndex
from onegen_hf.data.streaming import stream_documents
from onegen_hf.index import encode_shards, merge_shards
from onegen_hf.index.shards.generations import latest_generation
from onegen_hf.index.shards.manifest import Manifest

PROBES = 4


@pytest.fixture(params=["passage", "sentence"])
def model(request: Any, tokenizer: Any) -> Any:
    return make_model(tokenizer, granularity=request.param)


def changed(corpus: list[Passage]) -> tuple[list[Passage], int]:
    """Another state of a corpus, and how many of its texts are new."""
    new = [Passage("new-0", "", "A boat of tin."), Passage("new-1", "", "An old song.")]
    other = replace(corpus[7], text="Something else.", sentences=("Something else.",))
    moved = replace(corpus[3], id="another-id", meta={"year": 1850})
    return [new[0], *corpus[1:3], moved, *corpus[4:7], other, *corpus[8:], new[1]], 3


def encode(model: Any, tokenizer: Any, passages: Any, folder: Path, **options: Any) -> Manifest:
    return encode_shards(model, tokenizer, passages, folder, shard_size=16, show_progress=False, **options)


def write_lines(path: Path, passages: list[Passage]) -> Path:
    records = [
        {"id": p.id, "title": p.title, "sentences": list(p.sentences) or [p.text], "meta": p.meta} for p in passages
    ]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_only_new_texts_are_encoded(model: Any, tokenizer: Any, tmp_path: Path) -> None:
    corpus = make_corpus(60)
    encode(model, tokenizer, corpus, tmp_path / "shards")
    after, new = changed(corpus)
    fresh = encode(model, tokenizer, after, tmp_path / "fresh")
    counted = CountedEmbed(model)
    manifest = encode(model, tokenizer, after, tmp_path / "shards", update=True)
    assert sum(counted.rows) == new + PROBES
    assert sum(summary.reused for summary in manifest.summaries) == len(after) - new
    for one, other in zip(manifest.shards(), fresh.shards(), strict=True):
        assert list(one.passages()) == list(other.passages())
        np.testing.assert_array_equal(one.counts, other.counts)
        np.testing.assert_allclose(one.vectors, other.vectors, atol=1e-5)
    assert [path.name for path in (tmp_path / "shards").iterdir()] == ["2"], "the earlier encoding stays"
    index = merge_shards(tmp_path / "shards", tmp_path / "index", show_progress=False)
    assert list(index) == after


def test_several_updates(model: Any, tokenizer: Any, tmp_path: Path) -> None:
    corpus = make_corpus(40)
    for stop in (20, 40, 10, 40):
        encode(model, tokenizer, corpus[:stop], tmp_path, update=True)
    assert [p for s in Manifest.read(latest_generation(tmp_path)).shards() for p in s.passages()] == corpus
    counted = CountedEmbed(model)
    encode(model, tokenizer, corpus[5:25], tmp_path, update=True)
    assert sum(counted.rows) == PROBES


def test_pieces(tokenizer: Any, tmp_path: Path) -> None:
    model = make_model(tokenizer)
    corpus = [Passage(f"p{n}", f"Title {n}", f"A kite is red {n}. " * (1 + n % 7)) for n in range(30)]
    encode(model, tokenizer, corpus, tmp_path, max_tokens_per_passage=20)
    corpus[6] = replace(corpus[6], text=corpus[6].text + "A boat.")
    counted = CountedEmbed(model)
    manifest = encode(model, tokenizer, corpus, tmp_path, max_tokens_per_passage=20, update=True)
    assert sum(counted.rows) == 1 + PROBES  # the last piece
    assert sum(summary.reused for summary in manifest.summaries) == manifest.num_passages - 1


def test_an_unchanged_file_is_not_read(model: Any, tokenizer: Any, tmp_path: Path) -> None:
    file = write_lines(tmp_path / "corpus.jsonl", make_corpus(20))
    encode(model, tokenizer, stream_documents(file), tmp_path / "shards", update=True)
    before = contents(tmp_path / "shards")
    encode(model, tokenizer, stream_documents(file), tmp_path / "shards", update=True)
    assert contents(tmp_path / "shards") == before
    write_lines(file, make_corpus(21))
    manifest = encode(model, tokenizer, stream_documents(file), tmp_path / "shards", update=True)
    assert manifest.num_passages == 21 and [path.name for path in (tmp_path / "shards").iterdir()] == ["2"]


def test_the_corpus_changes_again_before_an_update_is_finished(tokenizer: Any, tmp_path: Path) -> None:
    file, model = tmp_path / "corpus.jsonl", make_model(tokenizer)
    for number in (40, 60, 50):
        write_lines(file, make_corpus(number))
        counted = CountedEmbed(model, fail_at=2 if number == 60 else None)
        if number == 60:
            with pytest.raises(KeyboardInterrupt):
                encode(model, tokenizer, stream_documents(file), tmp_path / "shards", update=True)
        else:
            manifest = encode(model, tokenizer, stream_documents(file), tmp_path / "shards", update=True)
        model.embed = counted._embed
    assert manifest.num_passages == 50 and sum(summary.reused for summary in manifest.summaries) == 40
    assert [path.name for path in (tmp_path / "shards").iterdir()] == ["3"]


def test_workers_update_together(tokenizer: Any, tmp_path: Path) -> None:
    model, corpus = make_model(tokenizer), make_corpus(300)
    after, _ = changed(corpus)
    file = tmp_path / "corpus.jsonl"
    for folder, workers in (("one", 1), ("many", 3)):
        write_lines(file, corpus)
        encode(model, tokenizer, stream_documents(file), tmp_path / folder)
        write_lines(file, after)
        options = {"shard_size": 16, "update": True}
        arguments = (model, tokenizer, stream_documents(file), tmp_path / folder)
        running = [start_worker(tmp_path / f"log-{folder}", *arguments, **options) for _ in range(workers)]
        for worker in running:
            worker.join(60)
            assert worker.exitcode == 0
    assert contents(tmp_path / "many") == contents(tmp_path / "one")


def test_an_update_by_another_model(model: Any, tokenizer: Any, tmp_path: Path) -> None:
    encode(model, tokenizer, make_corpus(20), tmp_path)
    with pytest.raises(ValueError, match="shards of another model"):
        other = make_model(tokenizer, seed=1, granularity=model.onegen_config.granularity)
        encode(other, tokenizer, make_corpus(21), tmp_path, update=True)
    encode(model, tokenizer, make_corpus(21), tmp_path, update=True)


def test_an_index_in_memory_encodes_new_texts_only(model: Any, tokenizer: Any) -> None:
    corpus = make_corpus(40)
    index = PassageIndex.build(model, tokenizer, corpus, show_progress=False)
    after, new = changed(corpus)
    counted = CountedEmbed(model)
    index.update(model, tokenizer, after, show_progress=False)
    index.remove(["p0", "p3"])
    assert sum(counted.rows) == new + PROBES
    expected = PassageIndex.build(model, tokenizer, list(index), show_progress=False)
    assert sorted(p.id for p in index) == sorted(p.id for p in after)
    assert index.get("another-id").meta == {"year": 1850}  # type: ignore[union-attr]
    queries = np.random.default_rng(0).normal(size=(9, 32)).astype(np.float32)
    np.testing.assert_array_equal(index.search(queries, 5)[1], expected.search(queries, 5)[1])
    np.testing.assert_allclose(index.search(queries, 5)[0], expected.search(queries, 5)[0], atol=1e-5)
    counted.rows.clear()
    index.update(model, tokenizer, [replace(corpus[9], meta=1)], show_progress=False)
    assert sum(counted.rows) == PROBES and index.get("p9").meta == 1  # type: ignore[union-attr]
