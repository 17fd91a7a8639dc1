"""Merging shards: the file that FAISS itself would write, and one process that merges for all."""

from __future__ import annotations

import hashlib
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.index_fixtures import make_corpus, make_model
from support.shard_workers import FORK

from onegen_hf import PassageIndex
from onegen_hf.index import ModelFingerprint, encode_shards, merge_shards
from onegen_hf.index.encode import EncodedCorpus
from onegen_hf.index.passage_table import PassageTable
from onegen_hf.index.shards import merge
from onegen_hf.index.shards.layout import ShardFolder
from onegen_hf.index.shards.manifest import Manifest
from onegen_hf.index.shards.merge import merge_together

NUMBER = 300


@pytest.fixture(scope="module", params=["passage", "sentence"])
def setup(request: Any, tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """A model, and the shards that it has encoded; not to be changed."""
    model, folder = make_model(tokenizer, granularity=request.param), tmp_path_factory.mktemp("shards")
    encode_shards(model, tokenizer, make_corpus(NUMBER), folder, shard_size=64, show_progress=False)
    return model, folder


def in_memory(model: Any, tokenizer: Any, folder: Path, **options: Any) -> PassageIndex:
    """The index that `PassageIndex` makes of the same vectors."""
    manifest = Manifest.read(ShardFolder(folder / "1"))
    vectors = np.concatenate([np.asarray(shard.vectors) for shard in manifest.shards()])
    owners = np.repeat(np.arange(NUMBER), np.concatenate([shard.counts for shard in manifest.shards()]))
    encoded = EncodedCorpus(vectors, owners, np.zeros(len(owners), np.int64), 0)
    return PassageIndex.from_encoded(make_corpus(NUMBER), encoded, ModelFingerprint.of(model, tokenizer), **options)


OPTIONS: list[dict[str, Any]] = [
    {"factory": "Flat"},
    {"precision": "float16"},
    {"precision": "int8"},
    {"dimensions": 16},
    {"dimensions": 8, "precision": "int8"},
    {"factory": "IVF4,Flat"},
    {"factory": "IVF40,Flat"},
    {"factory": "IVF4,SQ8"},
    {"factory": "IVF4,PQ4x4np"},
    {"factory": "OPQ4_16,IVF4,PQ4x4np"},
    {"backend": "torch"},
]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: " ".join(map(str, options.values())))
def test_the_same_bytes_as_in_memory(
    setup: tuple[Any, Path], tokenizer: Any, tmp_path: Path, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merge, "_ROWS_PER_BLOCK", 50)
    model, folder = setup
    merged = merge_shards(folder, tmp_path / "merged", show_progress=False, **options)
    expected = in_memory(model, tokenizer, folder, **options)
    expected.save(tmp_path / "expected")
    for file in (merged.backend.file_name, "passages.parquet"):
        if file == "passages.parquet":  # its groups end where shards end
            continue
        assert (tmp_path / "merged" / file).read_bytes() == (tmp_path / "expected" / file).read_bytes()
    one, other = [json.loads((tmp_path / n / "index.json").read_text()) for n in ("merged", "expected")]
    assert one.keys() - other.keys() == {"encoding"}
    for name in other.keys() - {"files", "checksums"}:
        assert one[name] == other[name], name
    assert list(merged) == make_corpus(NUMBER)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        again = PassageIndex.load(tmp_path / "merged", mmap=False)
    queries = np.random.default_rng(0).normal(size=(5, 32)).astype(np.float32)
    np.testing.assert_array_equal(again.search(queries, 7)[1], expected.search(queries, 7)[1])


@pytest.mark.parametrize("factory", ["HNSW8", "PCA16,IVF4,Flat", "PQ4x4np"])
def test_other_kinds_find_the_same(setup: tuple[Any, Path], tokenizer: Any, tmp_path: Path, factory: str) -> None:
    model, folder = setup
    merged = merge_shards(folder, tmp_path, factory=factory, show_progress=False)
    expected = in_memory(model, tokenizer, folder, factory=factory)
    queries = np.random.default_rng(0).normal(size=(20, 32)).astype(np.float32)
    np.testing.assert_allclose(merged.search(queries, 3)[0], expected.search(queries, 3)[0], atol=1e-5)
    assert merged.search_parameters == expected.search_parameters


def test_training_on_a_sample(setup: tuple[Any, Path], tmp_path: Path) -> None:
    _, folder = setup
    merge_shards(folder, tmp_path / "all", factory="IVF4,Flat", show_progress=False)
    sampled = merge_shards(folder, tmp_path / "some", factory="IVF4,Flat", training_vectors=50, show_progress=False)
    assert (tmp_path / "all" / "index.faiss").read_bytes() != (tmp_path / "some" / "index.faiss").read_bytes()
    sampled.set_search_parameters(nprobe=4)
    exact = merge_shards(folder, tmp_path / "flat", show_progress=False)
    queries = np.random.default_rng(0).normal(size=(5, 32)).astype(np.float32)
    np.testing.assert_allclose(sampled.search(queries, 3)[0], exact.search(queries, 3)[0], atol=1e-6)


def test_loading_reads_no_passage(setup: tuple[Any, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, folder = setup
    merge_shards(folder, tmp_path, show_progress=False)
    read, columns = PassageTable._read, []

    def noted(table: PassageTable, groups: Any, names: list[str]) -> Any:
        columns.extend(names)
        return read(table, groups, names)

    monkeypatch.setattr(PassageTable, "_read", noted)
    index = PassageIndex.load(tmp_path)
    assert set(columns) == {"embeddings"}  # how many rows each passage has
    if index.num_rows == len(index):
        counts = PassageTable(tmp_path / "passages.parquet").counts()
        assert counts.strides == (0,) and isinstance(index._collection._starts, range), "memory for every passage"
    assert index[0] == make_corpus(1)[0]


def test_factory_that_does_not_fit(setup: tuple[Any, Path], tmp_path: Path) -> None:
    for factory, message in (("Falt", "'Falt' is no index"), ("IVF4096,Flat", "can't be trained on")):
        with pytest.raises(ValueError, match=message):
            merge_shards(setup[1], tmp_path / "index", factory=factory, show_progress=False)
    with pytest.raises(ValueError, match="dimensions=99 is more than the 32"):
        merge_shards(setup[1], tmp_path / "index", dimensions=99, show_progress=False)
    assert not (tmp_path / "index").exists()


def test_unfinished_and_damaged(tokenizer: Any, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="this is no finished encoding"):
        merge_shards(tmp_path / "nowhere", tmp_path / "index")
    model = make_model(tokenizer)
    encode_shards(model, tokenizer, make_corpus(40), tmp_path / "s", shard_size=16, show_progress=False)
    file = tmp_path / "s" / "1" / "shards" / "00000001" / "embeddings.safetensors"
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(bytes(content))
    with pytest.raises(ValueError, match="embeddings.safetensors is not what was written, by its checksum"):
        merge_shards(tmp_path / "s", tmp_path / "index", show_progress=False)
    file.write_bytes(bytes(content)[:-100])
    with pytest.raises(ValueError, match="embeddings.safetensors has .* bytes instead of"):
        merge_shards(tmp_path / "s", tmp_path / "index", show_progress=False)
    assert not (tmp_path / "index").exists()


def _merge(folder: Path, output_dir: Path) -> None:
    merge_together(folder, output_dir, factory="IVF4,SQ8", show_progress=False)


def test_one_process_merges_for_all(setup: tuple[Any, Path], tmp_path: Path) -> None:
    _, folder = setup
    processes = [FORK.Process(target=_merge, args=(folder, tmp_path)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index.faiss", "index.json", "passages.parquet"]
    stamp = (tmp_path / "index.json").stat().st_mtime_ns
    _merge(folder, tmp_path)
    assert (tmp_path / "index.json").stat().st_mtime_ns == stamp, "it was merged again"
    before = hashlib.sha256((tmp_path / "index.faiss").read_bytes()).hexdigest()
    merge_together(folder, tmp_path, show_progress=False)
    assert hashlib.sha256((tmp_path / "index.faiss").read_bytes()).hexdigest() == before  # the earlier one stays
    assert PassageIndex.load(tmp_path).factory == "Flat"
