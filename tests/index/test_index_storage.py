"""Saving and loading an index: the same results, and no half-valid or damaged directory is accepted."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.index_fixtures import HIDDEN, make_corpus, make_model

from onegen_hf import Passage
from onegen_hf.hub import commit
from onegen_hf.index import PassageIndex, local_collection, passage_table, storage


def build(tokenizer: Any, corpus: Any, factory: str = "Flat", **settings: Any) -> PassageIndex:
    model = make_model(tokenizer, **settings)
    return PassageIndex.build(model, tokenizer, corpus, factory=factory, show_progress=False, model_id="org/m")


@pytest.fixture(scope="module")
def saved_once(tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "index"
    build(tokenizer, make_corpus(12)).save(folder)
    return folder


@pytest.fixture
def saved(saved_once: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved_once, tmp_path / "index"))


def queries(number: int = 5) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(number, HIDDEN)).astype(np.float32)


@pytest.mark.parametrize("mmap", [True, False])
@pytest.mark.parametrize("granularity", ["passage", "sentence"])
@pytest.mark.parametrize(("factory", "number"), [("Flat", 1), ("Flat", 12), ("HNSW32", 12), ("IVF2,Flat", 12)])
def test_round_trip(tokenizer: Any, tmp_path: Path, factory: str, number: int, granularity: str, mmap: bool) -> None:
    index = build(tokenizer, make_corpus(number), factory, granularity=granularity)
    index.save(tmp_path / "deep" / "index")
    loaded = PassageIndex.load(tmp_path / "deep" / "index", mmap=mmap)
    for ours, theirs in zip(index.search(queries(), 4), loaded.search(queries(), 4), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert list(loaded) == make_corpus(number)
    assert [loaded.reference(row) for row in range(loaded.num_rows)] == [
        index.reference(row) for row in range(index.num_rows)
    ]
    assert (loaded.factory, loaded.model_id, loaded.granularity) == (factory, "org/m", granularity)
    loaded.check_model(make_model(tokenizer, granularity=granularity), tokenizer)
    assert sorted(file.name for file in (tmp_path / "deep" / "index").iterdir()) == [
        "index.faiss",
        "index.json",
        "passages.parquet",
    ]


def test_other_model_is_refused_after_loading(saved: Path, tokenizer: Any) -> None:
    with pytest.raises(ValueError, match=r"another model \(org/m\).*other weights"):
        PassageIndex.load(saved).check_model(make_model(tokenizer, seed=5), tokenizer)


def test_description(saved: Path) -> None:
    content = json.loads((saved / "index.json").read_text())
    assert content["format_version"] == 1
    assert (content["passages"], content["embeddings"], content["dimension"]) == (12, 12, HIDDEN)
    assert (content["metric"], content["granularity"], content["factory"]) == ("inner_product", "passage", "Flat")
    assert {"torch", "transformers"} <= set(content["libraries"])


def test_save_onto_itself_and_over_another(saved: Path, tokenizer: Any) -> None:
    loaded = PassageIndex.load(saved)
    expected = loaded.search(queries(), 3)
    loaded.save(saved)  # while it is mapped
    np.testing.assert_array_equal(PassageIndex.load(saved).search(queries(), 3)[1], expected[1])
    np.testing.assert_array_equal(loaded.search(queries(), 3)[1], expected[1])
    assert loaded[3] == make_corpus(12)[3]
    build(tokenizer, make_corpus(2)).save(saved)
    assert len(PassageIndex.load(saved)) == 2


def test_interrupted_save_keeps_the_old_index(saved: Path, tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(local_collection, "write_passages", fail)
    with pytest.raises(KeyboardInterrupt):
        build(tokenizer, make_corpus(2)).save(saved)
    assert len(PassageIndex.load(saved)) == 12
    assert len(list(saved.iterdir())) == 3


def test_save_interrupted_before_the_description(saved: Path, tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(storage, "_installed_version", fail)
    with pytest.raises(KeyboardInterrupt):
        build(tokenizer, make_corpus(2)).save(saved)
    with pytest.raises(FileNotFoundError, match="holds no complete index"):
        PassageIndex.load(saved)


@pytest.mark.parametrize("name", ["index.json", "index.faiss", "passages.parquet"])
def test_missing_file(saved: Path, name: str) -> None:
    (saved / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"{name} is missing.*again"):
        PassageIndex.load(saved)


@pytest.mark.parametrize("name", ["index.faiss", "passages.parquet"])
def test_truncated_file(saved: Path, name: str) -> None:
    content = (saved / name).read_bytes()
    (saved / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=f"{name} has .* bytes and index.json says {len(content)}: it is truncated"):
        PassageIndex.load(saved)


@pytest.mark.parametrize("mmap", [True, False])
@pytest.mark.parametrize(("name", "kind"), [("index.faiss", "FAISS index"), ("passages.parquet", "Parquet file")])
def test_file_of_another_kind(saved: Path, name: str, kind: str, mmap: bool) -> None:
    (saved / name).write_bytes(b"x" * (saved / name).stat().st_size)
    with pytest.raises(ValueError, match=f"{name} has another content than index.json says"):
        PassageIndex.load(saved, mmap=mmap)
    description = json.loads((saved / "index.json").read_text())
    del description["checksums"]  # as saved before there were any
    (saved / "index.json").write_text(json.dumps(description))
    with pytest.raises(ValueError, match=f"{name} is no readable {kind}.*again"):
        PassageIndex.load(saved, mmap=mmap)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"passages": 11}, "passages: 12 instead of 11"),
        ({"embeddings": 13}, "embeddings: 12 instead of 13"),
        ({"dimension": 16}, "dimension: 32 instead of 16"),
        ({"format_version": 2}, "format version 2.*upgrade"),
        ({"format_version": None}, "has no format_version"),
        ({"fingerprint": {}}, "fingerprint is damaged"),
    ],
)
def test_description_that_disagrees(saved: Path, change: dict[str, Any], message: str) -> None:
    path = saved / "index.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ValueError, match=message):
        PassageIndex.load(saved)


@pytest.mark.parametrize("name", ["../index.faiss", "/etc/passwd", "..", "a/../../b", "..\\x", "C:\\x", "sub/x", ""])
def test_name_that_leads_elsewhere(saved: Path, name: str) -> None:
    path = saved / "index.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "files": {**content["files"], name: 3}}))
    with pytest.raises(ValueError, match="which is not beside it: don't use this index"):
        PassageIndex.load(saved)


def test_files_of_the_wrong_form(saved: Path) -> None:
    path = saved / "index.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "files": ["index.faiss"]}))
    with pytest.raises(ValueError, match="'files' is no object"):
        PassageIndex.load(saved)


@pytest.mark.parametrize(("text", "message"), [("{", "is damaged"), ("[]", "no format_version"), ("", "is damaged")])
def test_damaged_description(saved: Path, text: str, message: str) -> None:
    (saved / "index.json").write_text(text)
    with pytest.raises(ValueError, match=f"index.json.*{message}"):
        PassageIndex.load(saved)


def test_description_without_a_part(saved: Path) -> None:
    path = saved / "index.json"
    path.write_text('{"format_version": 1, "dimension": 3}')
    with pytest.raises(ValueError, match=r"lacks \['fingerprint'"):
        PassageIndex.load(saved)


def test_parquet_of_something_else(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"id": ["a"]}), tmp_path / "p.parquet")
    with pytest.raises(ValueError, match="lacks the columns"):
        passage_table.PassageTable(tmp_path / "p.parquet")


def test_passages_over_several_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passage_table, "_ROWS_PER_GROUP", 4)
    monkeypatch.setattr(passage_table, "_CACHED_GROUPS", 2)
    corpus = [*make_corpus(13), Passage("ü", "", "no sentences")]
    passage_table.write_passages(corpus, np.arange(14), tmp_path / "p.parquet")
    table = passage_table.PassageTable(tmp_path / "p.parquet")
    assert list(table) == corpus
    assert [table[row] for row in (13, 0, 5, 12, 4, 3)] == [corpus[row] for row in (13, 0, 5, 12, 4, 3)]
    assert table.counts().tolist() == list(range(14))
    for row in (14, -1):
        with pytest.raises(IndexError, match=f"passage {row} of 14"):
            table[row]


# The Hub, whose client is replaced.


def test_repository_is_downloaded(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def snapshot_download(repo_id: str, **kwargs: Any) -> str:
        asked.update(kwargs, repo_id=repo_id)
        return str(saved)

    monkeypatch.setattr(storage, "snapshot_download", snapshot_download)
    assert len(PassageIndex.load("org/films", revision="v2", token="t")) == 12
    assert asked == {
        "repo_id": "org/films",
        "repo_type": "dataset",
        "revision": "v2",
        "token": "t",
        "allow_patterns": ["index.faiss", "passages.parquet", "bm25.safetensors", "index.json"],
    }


@pytest.mark.parametrize("as_path", [True, False])
def test_no_such_directory(tmp_path: Path, as_path: bool) -> None:
    missing = tmp_path / "nothing"
    with pytest.raises(FileNotFoundError, match="no such directory, and no name of a Hub repository"):
        PassageIndex.load(missing if as_path else str(missing))


def test_push_to_hub(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, Any]] = []

    class Api:
        def __init__(self, token: str | None = None) -> None:
            calls.append(("api", token))

        def create_repo(self, repo_id: str, **kwargs: Any) -> None:
            calls.append((repo_id, kwargs))

        def create_commit(self, repo_id: str, operations: Any, **kwargs: Any) -> str:
            calls.append((repo_id, sorted(operation.path_in_repo for operation in operations)))
            assert (kwargs["repo_type"], kwargs["commit_message"]) == ("dataset", "First")
            card = next(operation for operation in operations if operation.path_in_repo == "README.md")
            assert 'PassageIndex.load("org/films")' in card.path_or_fileobj.decode()
            return "commit"

    monkeypatch.setattr(commit, "HfApi", Api)
    index = PassageIndex.load(saved)
    assert index.push_to_hub("org/films", private=True, token="t", commit_message="First") == "commit"
    assert calls == [
        ("api", "t"),
        ("org/films", {"repo_type": "dataset", "exist_ok": True, "private": True}),
        ("org/films", ["README.md", "index.faiss", "index.json", "passages.parquet"]),
    ]
