"""Bad input is answered with argument, value and remedy, before a passage is encoded."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from support.index_fixtures import HIDDEN, CountedEmbed, make_corpus, make_model
from support.two_processes import IMPORTED

from onegen_hf import Passage
from onegen_hf.files import FolderLockedError, locked_folder
from onegen_hf.index import PassageIndex
from onegen_hf.index.encode import encode_passages

HALF = "caf\ud83d"


@pytest.fixture
def index(model: Any, tokenizer: Any) -> PassageIndex:
    return PassageIndex.build(model, tokenizer, make_corpus(8), show_progress=False)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"batch_size": "8"}, TypeError, "batch_size='8' must be an integer: leave out the quotes"),
        ({"batch_size": 0}, ValueError, "batch_size=0 must be"),
        ({"batch_size": 1.5}, TypeError, "batch_size=1.5 must be"),
        ({"max_batch_tokens": "many"}, TypeError, "max_batch_tokens=.many. must be"),
        ({"checkpoint_seconds": "x"}, TypeError, "checkpoint_seconds='x' must be a number"),
        ({"checkpoint_seconds": float("nan")}, ValueError, "checkpoint_seconds=nan must be a finite number"),
        ({"checkpoint_dir": 5}, TypeError, "checkpoint_dir=5 must be"),
        ({"show_progress": "no"}, TypeError, "show_progress='no' must be True or False"),
        ({"model_id": 5}, TypeError, "model_id=5 must be text"),
        ({"revision": HALF}, ValueError, "revision holds half of a surrogate pair"),
        (
            {"checkpoint_second": 5},
            TypeError,
            "checkpoint_second=5 is no argument of an encoding: it takes batch_size, .*checkpoint_seconds",
        ),
        ({"factory": ""}, ValueError, "factory='' is empty"),
        ({"factory": None}, TypeError, "factory=None must be text"),
        ({"factory": "Falt"}, ValueError, "factory='Falt' is no index of 32 dimensions .* Take 'Flat'"),
        ({"factory": "PQ7"}, ValueError, "factory='PQ7' is no index of 32 dimensions .* a PQ must divide"),
        ({"factory": "PQ8"}, ValueError, "factory='PQ8' can't be trained on 8 embeddings .*at least 256"),
        ({"factory": "IVF16,Flat"}, ValueError, "factory='IVF16,Flat' can't be trained on 8 embeddings"),
        ({"factory": "IDMap,Flat"}, ValueError, "factory='IDMap,Flat' can't be trained"),
        ({"factory": "PCA16,Flat"}, ValueError, "factory='PCA16,Flat' can't be trained on 8 embeddings"),
        ({"factory": "HNSW8_PQ8"}, ValueError, "factory='HNSW8_PQ8': FAISS makes .* L2 distance"),
    ],
)
def test_arguments_of_build(tokenizer: Any, arguments: dict[str, Any], error: type, message: str) -> None:
    model = make_model(tokenizer)
    counted = CountedEmbed(model)
    with pytest.raises(error, match=message):
        PassageIndex.build(model, tokenizer, make_corpus(8), **{"show_progress": False, **arguments})
    assert counted.rows == []


@pytest.mark.parametrize(
    ("passage", "message"),
    [
        (
            Passage(HALF, "", "A kite."),
            r"passage 2 \(id 'caf.ud83d'\): id holds half of a surrogate pair at position 3",
        ),
        (Passage("x", HALF, "A kite."), r"passage 2 \(id 'x'\): title holds half of a surrogate pair"),
        (Passage("x", "", HALF), r"passage 2 \(id 'x'\): text holds half"),
        (Passage("x", "", "A kite.", ("A", HALF)), r"passage 2 \(id 'x'\): sentence holds half"),
        (Passage("x", ["t"], "A kite."), r"passage 2 \(id 'x'\): title=\['t'\] must be text"),  # type: ignore[arg-type]
        (Passage(5, "", "A kite."), r"passage 2 \(id 5\): id=5 must be text"),  # type: ignore[arg-type]
    ],
)
def test_texts_that_cannot_be_saved(tokenizer: Any, passage: Passage, message: str, index: PassageIndex) -> None:
    model = make_model(tokenizer)
    counted = CountedEmbed(model)
    corpus = [*make_corpus(2), passage]
    with pytest.raises((TypeError, ValueError), match=message):
        encode_passages(model, tokenizer, corpus, show_progress=False)
    assert counted.rows == []
    with pytest.raises((TypeError, ValueError), match=message):
        index.update(model, tokenizer, corpus, show_progress=False)
    with pytest.raises((TypeError, ValueError), match=message):
        PassageIndex.from_embeddings(torch.ones(3, HIDDEN), corpus, model, tokenizer)
    assert list(index) == make_corpus(8)


@pytest.mark.parametrize("passages", [None, 5, 2.5])
def test_what_is_no_corpus(model: Any, tokenizer: Any, passages: Any) -> None:
    with pytest.raises(TypeError, match=f"passages={passages} must be a list of passages or a dataset"):
        PassageIndex.build(model, tokenizer, passages, show_progress=False)


@pytest.mark.parametrize(
    ("queries", "message"),
    [
        (np.zeros((2, HIDDEN)), "queries: embedding 0 of 2 has no direction: it is zero"),
        (np.full((1, HIDDEN), 1e-30), "queries: embedding 0 of 1 has no direction"),
        (np.full((1, HIDDEN), 1e30), "queries: embedding 0 of 1 has no direction"),
        (np.full((1, HIDDEN), np.nan), "queries: embedding 0 of 1 holds NaN"),
        ("Who?", "embeddings is a str that holds no matrix of numbers"),
        (None, "embeddings is a NoneType that holds no matrix of numbers"),
        ([["a"]], "embeddings is a list that holds no matrix of numbers"),
        (torch.ones(1, HIDDEN, dtype=torch.bool), "embeddings has dtype torch.bool"),
    ],
)
def test_queries_that_mean_nothing(index: PassageIndex, queries: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        index.search(queries, 1)


@pytest.mark.parametrize("k", [1.5, "2", None, True, float("nan"), 0])
def test_k(index: PassageIndex, k: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=f"k={k!r} must be (at least 1|an integer)"):
        index.search(np.ones((1, HIDDEN)), k)


def test_passages_by_id_and_by_row(index: PassageIndex) -> None:
    assert index.get("p3") == index[3] == make_corpus(8)[3]
    assert index.get("nothing") is None and index.get("nothing", index[0]) is index[0]
    assert index.get(HALF) is None and index.get(5) is None  # type: ignore[arg-type]
    index.remove(["p3"])
    assert index.get("p3") is None and index.get("p4") == index[3]
    with pytest.raises(TypeError, match=r"rows are numbers; the passage with an id is index.get\('p4'\)"):
        index["p4"]  # type: ignore[index]
    for row in (1.5, None, slice(0, 2)):
        with pytest.raises(TypeError, match="row=.* must be an integer"):
            index[row]  # type: ignore[index]


@pytest.mark.parametrize("parameters", [{"nprobe": "4"}, {"nprobe": 0}, {"nprobe": float("nan")}, {"efSearch": 2**40}])
def test_search_parameters_out_of_range(index: PassageIndex, parameters: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError), match=f"{next(iter(parameters))}=.* (must be|is no search parameter)"):
        index.set_search_parameters(**parameters)


@pytest.mark.parametrize(
    "arguments", [{"dir_or_repo": ["p"]}, {"mmap": "yes"}, {"revision": 5}, {"dir_or_repo": None}]
)
def test_arguments_of_load(arguments: dict[str, Any], tmp_path: Path) -> None:
    name = next(iter(arguments))
    with pytest.raises(TypeError, match=f"{name}=.* must be"):
        PassageIndex.load(**{"dir_or_repo": tmp_path, **arguments})


@pytest.mark.parametrize("ids", [5, None, "p1"])
def test_ids_to_remove(index: PassageIndex, ids: Any) -> None:
    with pytest.raises(TypeError, match="ids=.*list of ids"):
        index.remove(ids)


@pytest.mark.parametrize("ids", [[HALF], [5], [None]])
def test_unknown_ids_to_remove(index: PassageIndex, ids: Any) -> None:
    with pytest.raises(ValueError, match="ids: the index has no passage"):
        index.remove(ids)


# Folders.


def test_a_folder_that_cannot_be_written(model: Any, tokenizer: Any, index: PassageIndex, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    counted = CountedEmbed(fresh := make_model(tokenizer))
    with pytest.raises(OSError, match=r"file cannot be written to .*an encoding: choose another folder"):
        encode_passages(fresh, tokenizer, make_corpus(3), checkpoint_dir=tmp_path / "file", show_progress=False)
    assert counted.rows == []
    with pytest.raises(OSError, match=r"file cannot be written to .*an index: choose another folder"):
        index.save(tmp_path / "file")


def test_one_writer_at_a_time(model: Any, tokenizer: Any, index: PassageIndex, tmp_path: Path) -> None:
    refused = []

    def write() -> None:
        for call in (
            lambda: index.save(tmp_path),
            lambda: encode_passages(model, tokenizer, make_corpus(3), checkpoint_dir=tmp_path, show_progress=False),
        ):
            try:
                call()
            except FolderLockedError as error:
                refused.append(str(error))

    with locked_folder(tmp_path, "a test"):
        thread = threading.Thread(target=write)
        thread.start()
        thread.join()
        index.save(tmp_path)  # the thread that holds the lock may
    assert len(refused) == 2 and all("another process is writing to" in error for error in refused)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["index.faiss", "index.json", "passages.parquet"]


# Pickles.


@pytest.mark.parametrize("backend", ["faiss", "torch"])
def test_a_saved_index_is_copied_by_its_path(model: Any, tokenizer: Any, backend: str, tmp_path: Path) -> None:
    index = PassageIndex.build(model, tokenizer, make_corpus(8), backend=backend, show_progress=False)
    for copied in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError, match=r"only in memory: call `index.save\(directory\)` first"):
            copied(index)
    index.save(tmp_path)
    content = pickle.dumps(index)
    assert len(content) < 1000
    queries = np.random.default_rng(0).normal(size=(3, HIDDEN))
    for again in (pickle.loads(content), copy.deepcopy(index), copy.deepcopy(PassageIndex.load(tmp_path, mmap=False))):
        assert list(again) == list(index)
        for ours, theirs in zip(again.search(queries, 4), index.search(queries, 4), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    changed = PassageIndex.load(tmp_path).remove(["p0"])
    with pytest.raises(TypeError, match="only in memory"):
        pickle.dumps(changed)
    changed.save(tmp_path)
    with pytest.raises(ValueError, match="is another one than was there when this pickle or copy was made"):
        pickle.loads(content)


def test_search_parameters_go_with_a_copy(model: Any, tokenizer: Any, tmp_path: Path) -> None:
    PassageIndex.build(model, tokenizer, make_corpus(8), factory="IVF4,Flat", show_progress=False).save(tmp_path)
    index = PassageIndex.load(tmp_path)
    index.set_search_parameters(nprobe=2)
    assert copy.deepcopy(index).search_parameters == index.search_parameters == {"nprobe": 2, "max_codes": 0}


def search_first(index: PassageIndex) -> str:
    return index[int(index.search(np.eye(HIDDEN)[:1], 1)[1][0, 0])].id


def test_workers_of_a_pool_and_map(index: PassageIndex, tmp_path: Path) -> None:
    index.save(tmp_path)
    expected = search_first(index)
    multiprocessing.set_forkserver_preload(IMPORTED)
    with multiprocessing.get_context("forkserver").Pool(1) as pool:
        assert pool.map(search_first, [index]) == [expected]
    rows = Dataset.from_dict({"n": [0, 1]}).map(lambda row: {"id": search_first(index)}, num_proc=2)
    assert rows["id"] == [expected] * 2


def test_arguments_of_loading_and_pushing(tokenizer: Any, tmp_path: Path) -> None:
    index = PassageIndex.build(make_model(tokenizer), tokenizer, make_corpus(4), show_progress=False)
    index.save(tmp_path / "index")
    with pytest.raises(TypeError, match="nmap=True is no argument of loading an index: did you mean 'mmap'"):
        PassageIndex.load(tmp_path / "index", nmap=True)
    for value, message in ((None, "repo_id=None must be text"), ("not a repo!!", "repo_id='not a repo!!' is no name")):
        with pytest.raises((TypeError, ValueError), match=message):
            index.push_to_hub(value)
    for value in ("", None, 5):
        with pytest.raises((TypeError, ValueError), match=f"directory={value!r} "):
            index.save(value)
