"""Encoding in shards where the disk, the files or the corpus are not what they should be."""

from __future__ import annotations

import json
import multiprocessing
import resource
import time
from pathlib import Path
from typing import Any

import pytest
from support.index_fixtures import make_corpus
from support.shard_workers import contents

from onegen_hf import Passage, PassageIndex
from onegen_hf.index import encode_shards, merge_shards
from onegen_hf.index.shards.layout import ShardFolder
from onegen_hf.index.shards.leases import Leases
from onegen_hf.index.shards.manifest import Manifest

SHARD = 16
FORK = multiprocessing.get_context("fork")
LONG = [Passage(p.id, p.title, p.text + " A kite." * 9) for p in make_corpus(40)]


def encode(model: Any, tokenizer: Any, corpus: Any, folder: Path, **options: Any) -> Manifest:
    options = {"shard_size": SHARD, "show_progress": False, **options}
    return encode_shards(model, tokenizer, corpus, folder, **options)


def swap(first: Path, second: Path) -> None:
    between = first.with_name("between")
    first.rename(between)
    second.rename(first)
    between.rename(second)


# A disk that is full, by a limit on the size of a file.


def _within(limit: int, results: Any, model: Any, tokenizer: Any, root: Path) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        encode(model, tokenizer, LONG, root / "shards", max_tokens_per_passage=30)
        merge_shards(root / "shards", root / "index", factory="IVF2,SQ8", show_progress=False)
    except Exception as error:
        results.put((type(error).__mro__[-4 if isinstance(error, OSError) else 0].__name__, str(error)))
    else:
        results.put(("", ""))


@pytest.mark.parametrize("limit", [0, 50, 150, 400, 1000, 1500, 2000, 2500, 3000, 4000, 5000, 6000, 8000])
def test_a_full_disk(model: Any, tokenizer: Any, tmp_path: Path, limit: int) -> None:
    results = FORK.Queue()
    process = FORK.Process(target=_within, args=(limit, results, model, tokenizer, tmp_path / "full"))
    process.start()
    kind, message = results.get(timeout=60)
    process.join(60)
    assert kind == "OSError" and str(tmp_path / "full") in message
    for root in (tmp_path / "full", tmp_path / "whole"):
        encode(model, tokenizer, LONG, root / "shards", max_tokens_per_passage=30, lease_seconds=600)
    assert contents(tmp_path / "full" / "shards") == contents(tmp_path / "whole" / "shards")


def _claim(results: Any, folder: Path) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, resource.RLIM_INFINITY))
    try:
        with Leases(folder, 600).claim("shard"):
            pass
    except OSError as error:
        results.put(str(error))
    time.sleep(60)


def test_nobody_waits_for_a_worker_whose_disk_was_full(tmp_path: Path) -> None:
    results = FORK.Queue()
    process = FORK.Process(target=_claim, args=(results, tmp_path / "leases"))
    process.start()
    assert str(tmp_path / "leases" / "shard.1") in results.get(timeout=30)
    try:
        with Leases(tmp_path / "leases", 600).claim("shard") as lease:
            assert lease is not None
    finally:
        process.kill()
        process.join()


# Files that are not what they were.


@pytest.mark.parametrize("finished", [False, True])
def test_two_shards_that_have_changed_places(model: Any, tokenizer: Any, tmp_path: Path, finished: bool) -> None:
    encode(model, tokenizer, make_corpus(40), tmp_path)
    folder = ShardFolder(tmp_path / "1")
    swap(folder.shard(0), folder.shard(1))
    if not finished:
        folder.manifest_file.unlink()
    with pytest.raises(ValueError, match=r"shards.0000000\d is another shard"):
        encode(model, tokenizer, make_corpus(40), tmp_path)
        merge_shards(tmp_path, tmp_path / "index", show_progress=False)


@pytest.mark.parametrize("version", [99, 0, -1, "1", None, 1.5, True, [1]])
def test_a_manifest_of_another_version(model: Any, tokenizer: Any, tmp_path: Path, version: Any) -> None:
    encode(model, tokenizer, make_corpus(20), tmp_path)
    file = tmp_path / "1" / "manifest.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "format_version": version}))
    message = "pip install --upgrade onegen-hf" if version == 99 else r"manifest\.json is damaged \(format.version"
    with pytest.raises(ValueError, match=message):
        merge_shards(tmp_path, tmp_path / "index", show_progress=False)
    assert not (tmp_path / "index").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"shards": []},
        {"shards": None},
        {"shards": [5]},
        {"passages": 3},
        {"embeddings": -1},
        {"dimension": 0},
        {"dimension": 7},
        {"fingerprint": None},
        {"precision": "float99"},
        {"truncated": "many"},
    ],
    ids=str,
)
def test_a_manifest_that_contradicts_its_shards(
    model: Any, tokenizer: Any, tmp_path: Path, change: dict[str, Any]
) -> None:
    encode(model, tokenizer, make_corpus(20), tmp_path)
    file = tmp_path / "1" / "manifest.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(ValueError, match=r"manifest\.json is damaged"):
        merge_shards(tmp_path, tmp_path / "index", show_progress=False)


@pytest.mark.parametrize("name", ["corpus.json", "encoding.json", "manifest.json"])
@pytest.mark.parametrize("content", ["", "{", "[1]", "null", "\x00" * 40])
def test_a_damaged_description(model: Any, tokenizer: Any, tmp_path: Path, name: str, content: str) -> None:
    encode(model, tokenizer, make_corpus(20), tmp_path)
    (tmp_path / "1" / name).write_text(content)
    with pytest.raises(ValueError, match=f"{name} is damaged"):
        encode(model, tokenizer, make_corpus(20), tmp_path)
        merge_shards(tmp_path, tmp_path / "index", show_progress=False)


@pytest.mark.parametrize("name", ["passages.parquet", "embeddings.safetensors"])
@pytest.mark.parametrize("place", [3, 7, 8, 60, -20])
def test_a_changed_byte(model: Any, tokenizer: Any, tmp_path: Path, name: str, place: int) -> None:
    encode(model, tokenizer, make_corpus(20), tmp_path)
    file = tmp_path / "1" / "shards" / "00000001" / name
    content = bytearray(file.read_bytes())
    content[place] ^= 255
    file.write_bytes(content)
    with pytest.raises(ValueError, match=f"{name} is not what was written|00000001.*damaged"):
        merge_shards(tmp_path, tmp_path / "index", show_progress=False)


# Passages that nobody expects.


def test_strange_passages(model: Any, tokenizer: Any, tmp_path: Path) -> None:
    corpus = [
        Passage("i" * 10_000, "", "A long id."),
        Passage("i" * 9_999 + "j", "", "Another long id."),
        Passage("nul\0id", "nul\0title", "nul\0text", ("nul\0text",), {"nul\0key": "nul\0value"}),
        Passage("", "no id", ""),
        Passage(" ", "a space", "x"),
        Passage("\n", "a line", "x"),
        Passage("mixed", "", "x", (), {"n": [1, "1", None, {"a": [[]]}], "": {}}),
    ] + make_corpus(20)
    encode(model, tokenizer, corpus, tmp_path / "shards")
    index = merge_shards(tmp_path / "shards", tmp_path / "index", show_progress=False)
    assert list(index) == corpus and [index.get(passage.id) for passage in corpus] == corpus
    assert list(PassageIndex.load(tmp_path / "index")) == corpus
    with pytest.raises(ValueError, match=r"the id 'i{10}.{0,300}\.\.\. stands for passage 0 and for passage 27"):
        encode(model, tokenizer, [*corpus, Passage("i" * 10_000, "", "Again.")], tmp_path / "twice")
