"""What every vector backend must do; a new one joins the list of parameters."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.index_fixtures import HIDDEN, make_corpus, make_model
from torch.overrides import TorchFunctionMode

from onegen_hf import Passage
from onegen_hf.index import FaissBackend, PassageIndex, TorchBackend, VectorBackend
from onegen_hf.index.backends import BACKENDS, MISSING, make_backend
from onegen_hf.index.backends import torch as torch_backend
from onegen_hf.index.backends.torch import nearest_rows

ALL = sorted(BACKENDS)
COUNT = 40


def unit(number: int, seed: int = 0, hidden: int = HIDDEN) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(number, hidden)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def filled(name: str, number: int = COUNT) -> VectorBackend:
    backend = make_backend(name)
    backend.check(HIDDEN, number)
    backend.build(unit(number))
    return backend


def assert_exact(backend: VectorBackend, vectors: np.ndarray, k: int) -> None:
    queries = unit(7, seed=1)
    scores, rows = backend.search(torch.from_numpy(queries), k)
    assert (scores.shape, scores.dtype, rows.shape, rows.dtype) == ((7, k), np.float32, (7, k), np.int64)
    expected = queries @ vectors.T
    np.testing.assert_allclose(scores, -np.sort(-expected, axis=1)[:, :k], atol=1e-6)
    np.testing.assert_allclose(np.take_along_axis(expected, rows, axis=1), scores, atol=1e-6)
    assert all(len(set(found)) == k for found in rows.tolist())


@pytest.mark.parametrize("name", ALL)
def test_the_registry_holds_its_own_names(name: str) -> None:
    assert BACKENDS[name].name == name
    assert isinstance(make_backend(name), BACKENDS[name])
    assert isinstance(make_backend(BACKENDS[name]), BACKENDS[name])
    own = BACKENDS[name]()
    assert make_backend(own) is own


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("k", [1, 5, COUNT])
def test_search_equals_exact_search(name: str, k: int) -> None:
    backend = filled(name)
    assert (backend.count, backend.dimension) == (COUNT, HIDDEN)
    assert_exact(backend, unit(COUNT), k)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("mapped", [None, True, False])
def test_rows_are_kept_moved_dropped_and_added(name: str, mapped: bool | None, tmp_path: Path) -> None:
    backend = filled(name)
    if mapped is not None:
        backend.write(tmp_path / backend.file_name)
        backend = BACKENDS[name].read(tmp_path / backend.file_name, backend.settings, mapped)
    new = unit(3, seed=2)
    rows = np.asarray([5, MISSING, 5, 0, 39, MISSING, 7, MISSING], np.int64)
    taken = backend.take(rows, new)
    expected = unit(COUNT)[rows]
    expected[rows == MISSING] = new
    assert type(taken) is type(backend) and taken.count == len(rows)
    queries = expected[[1, 3, 4, 5, 6, 7]]
    assert taken.search(torch.from_numpy(queries), 1)[1][:, 0].tolist() == [1, 3, 4, 5, 6, 7]
    assert_exact(backend, unit(COUNT), 3)  # the one it was taken from is as before
    assert_exact(backend.take(np.arange(4), np.empty((0, HIDDEN), np.float32)), unit(COUNT)[:4], 4)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("mapped", [True, False])
def test_written_and_read_it_is_the_same(name: str, mapped: bool, tmp_path: Path) -> None:
    backend = filled(name)
    path = tmp_path / backend.file_name
    backend.write(path)
    again = BACKENDS[name].read(path, json.loads(json.dumps(dict(backend.settings))), mapped)
    assert dict(again.settings) == dict(backend.settings)
    assert again.search_parameters == backend.search_parameters
    queries = torch.from_numpy(unit(5, seed=3))
    for ours, theirs in zip(backend.search(queries, 9), again.search(queries, 9), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("length", [0, 1, 8, 60, 200, 1000])
def test_a_cut_file_is_refused(name: str, length: int, tmp_path: Path) -> None:
    backend = filled(name)
    path = tmp_path / backend.file_name
    backend.write(path)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ValueError, match=r"build or download it again|was not written by"):
        BACKENDS[name].read(path, backend.settings)


@pytest.mark.parametrize("name", ALL)
def test_an_exact_search_has_no_parameters(name: str) -> None:
    backend = filled(name)
    assert backend.search_parameters == {}
    with pytest.raises(ValueError, match="nprobe=4 is no search parameter of this index"):
        backend.set_search_parameters(nprobe=4)


# Through PassageIndex.


def build(tokenizer: Any, corpus: Any, backend: Any, **settings: Any) -> PassageIndex:
    model = make_model(tokenizer, **settings)
    return PassageIndex.build(model, tokenizer, corpus, backend=backend, show_progress=False, model_id="org/m")


def assert_same(ours: PassageIndex, theirs: PassageIndex, k: int = 5) -> None:
    assert list(ours) == list(theirs)
    queries = unit(6, seed=4)
    (scores, rows), (expected, expected_rows) = ours.search(queries, k), theirs.search(queries, k)
    np.testing.assert_allclose(scores, expected, atol=1e-6)
    assert (rows == expected_rows).mean() > 0.95  # equal scores may change places


@pytest.mark.parametrize("backend", [*ALL, FaissBackend, TorchBackend, "instance"])
@pytest.mark.parametrize("granularity", ["passage", "sentence"])
def test_an_index_on_any_backend_answers_alike(tokenizer: Any, backend: Any, granularity: str, tmp_path: Path) -> None:
    corpus = [*make_corpus(12), Passage("ü→🜚", "Ünï", "A kite ß.", ("A kite ß.",))]
    index = build(
        tokenizer, corpus, TorchBackend("cpu") if backend == "instance" else backend, granularity=granularity
    )
    expected = build(tokenizer, corpus, "faiss", granularity=granularity)
    assert_same(index, expected)
    assert_same(index, expected, k=1000)
    for part in index.search(np.empty((0, HIDDEN), np.float32), 3):
        assert part.shape == (0, 3)
    model = make_model(tokenizer, granularity=granularity)
    changes = [Passage("p3", "", "A boat.", ("A boat.",)), Passage("neu→", "", "A mill.", ("A mill.",))]
    for changed in (index, expected):
        changed.update(model, tokenizer, changes, show_progress=False).remove(["p0", "ü→🜚"])
    assert_same(index, expected)
    index.save(tmp_path)
    loaded = PassageIndex.load(tmp_path)
    assert type(loaded.backend) is type(index.backend)
    assert_same(loaded, expected)
    assert loaded.get("neu→") == changes[1] and loaded.get("p0") is None
    loaded.check_model(model, tokenizer)


@pytest.mark.parametrize("name", ALL)
def test_a_file_of_another_index_is_refused(tokenizer: Any, name: str, tmp_path: Path) -> None:
    build(tokenizer, make_corpus(5), name).save(tmp_path / "five")
    build(tokenizer, make_corpus(6), name).save(tmp_path / "six")
    file = BACKENDS[name].file_name
    shutil.copy(tmp_path / "six" / file, tmp_path / "five" / file)
    with pytest.raises(ValueError, match="come from different indexes"):
        PassageIndex.load(tmp_path / "five")
    path = tmp_path / "five" / "index.json"
    description = json.loads(path.read_text())
    description["files"][file] = (tmp_path / "five" / file).stat().st_size
    del description["checksums"]
    path.write_text(json.dumps(description))
    with pytest.raises(ValueError, match="embeddings: 6 instead of 5"):
        PassageIndex.load(tmp_path / "five")


@pytest.mark.parametrize("name", ALL)
def test_queries_of_another_dimension(tokenizer: Any, name: str) -> None:
    with pytest.raises(ValueError, match="dimension 16 and the index 32"):
        build(tokenizer, make_corpus(3), name).search(unit(1, hidden=16), 1)


def test_the_other_backends_file_goes(tokenizer: Any, tmp_path: Path) -> None:
    build(tokenizer, make_corpus(3), "faiss").save(tmp_path)
    build(tokenizer, make_corpus(4), "torch").save(tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "embeddings.safetensors", "index.json", "passages.parquet"
    ]  # fmt: skip
    assert len(PassageIndex.load(tmp_path)) == 4


def test_an_index_json_of_before_the_backends_means_faiss(tokenizer: Any, tmp_path: Path) -> None:
    build(tokenizer, make_corpus(3), "faiss").save(tmp_path)
    path = tmp_path / "index.json"
    description = json.loads(path.read_text())
    del description["backend"], description["checksums"]["index.json"]
    path.write_text(json.dumps(description))
    assert PassageIndex.load(tmp_path).factory == "Flat"
    path.write_text(json.dumps({**description, "backend": "milvus"}))
    with pytest.raises(ValueError, match="backend 'milvus', and this release knows 'faiss', 'torch': pip install"):
        PassageIndex.load(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"backend": "milvus"}, "backend='milvus' is unknown: choose one of 'faiss', 'torch'"),
        ({"backend": None}, "backend=None is unknown"),
        ({"backend": "torch", "factory": "HNSW32"}, "factory='HNSW32' is no option of the torch backend"),
        ({"backend": FaissBackend("HNSW32"), "factory": "SQ8"}, "factory='SQ8' belongs to the making"),
    ],
)
def test_backends_that_cannot_be_made(tokenizer: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PassageIndex.build(make_model(tokenizer), tokenizer, make_corpus(3), show_progress=False, **arguments)


def test_a_filled_backend_is_not_filled_again(tokenizer: Any) -> None:
    with pytest.raises(ValueError, match=f"already holds {COUNT} vectors: give an empty one"):
        build(tokenizer, make_corpus(3), filled("torch"))


@pytest.mark.parametrize("device", ["foo", "cuda:99", 3.5])
def test_a_device_there_is_not(device: Any, tokenizer: Any) -> None:
    with pytest.raises(ValueError, match=r"device=.* (is no device|cannot be used)"):
        build(tokenizer, make_corpus(3), TorchBackend(device))


class ListBackend(VectorBackend):
    """What a newcomer writes to add a vector database."""

    name, file_name = "list", "vectors.json"

    def __init__(self, vectors: Any = ()) -> None:
        self.vectors = np.asarray(vectors, np.float32).reshape(-1, HIDDEN)

    count = property(lambda self: len(self.vectors))  # type: ignore[assignment]
    dimension = property(lambda self: HIDDEN)  # type: ignore[assignment]

    def check(self, dimension: int, count: int) -> None:
        assert dimension == HIDDEN

    def build(self, embeddings: np.ndarray) -> None:
        self.vectors = embeddings

    def search(self, queries: torch.Tensor, k: int) -> tuple[np.ndarray, np.ndarray]:
        scores = queries.numpy() @ self.vectors.T
        rows = np.argsort(-scores, axis=1)[:, :k]
        return np.take_along_axis(scores, rows, axis=1), rows

    def take(self, rows: np.ndarray, new: np.ndarray) -> ListBackend:
        is_new = rows == MISSING
        sources = np.where(is_new, self.count + np.cumsum(is_new) - 1, rows)
        return ListBackend(np.concatenate([self.vectors, new])[sources])

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(self.vectors.tolist()))

    @classmethod
    def read(cls, path: Path, settings: Any, mmap: bool = True) -> ListBackend:
        return cls(json.loads(path.read_text()))


def test_a_class_and_an_entry_add_a_backend(tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BACKENDS, ListBackend.name, ListBackend)
    index, expected = (build(tokenizer, make_corpus(9), name) for name in ("list", "faiss"))
    model, change = make_model(tokenizer), [Passage("p3", "", "A boat."), Passage("new", "", "A mill.")]
    for changed in (index, expected):
        changed.update(model, tokenizer, change, show_progress=False).remove(["p0"])
    assert_same(index, expected)
    index.save(tmp_path)
    assert_same(PassageIndex.load(tmp_path), expected)
    assert index.search_parameters == {} and index.factory is None


# Where torch searches.


def test_search_in_steps_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    queries, vectors = torch.from_numpy(unit(11, seed=5)), torch.from_numpy(unit(100))
    scores, rows = nearest_rows(queries, vectors, 13)
    monkeypatch.setattr(torch_backend, "SCORES_AT_A_TIME", 40)  # three or four vectors at a time
    monkeypatch.setattr(torch_backend, "QUERIES_AT_A_TIME", 4)
    in_steps, rows_in_steps = nearest_rows(queries, vectors, 13)
    torch.testing.assert_close(in_steps, scores)
    assert torch.equal(rows_in_steps, rows)


def test_autocast_does_not_round_scores() -> None:
    queries, vectors = torch.from_numpy(unit(4, seed=5)), torch.from_numpy(unit(50))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scores, _ = nearest_rows(queries, vectors, 5)
    torch.testing.assert_close(scores, nearest_rows(queries, vectors, 5)[0], rtol=0, atol=0)


def test_the_search_itself_stays_on_the_device() -> None:
    """On the meta device, where there are no values, any copy to the host fails."""
    scores, rows = nearest_rows(torch.empty(6, HIDDEN, device="meta"), torch.empty(90, HIDDEN, device="meta"), 4)
    assert (scores.device.type, rows.device.type, scores.shape, rows.shape) == ("meta", "meta", (6, 4), (6, 4))


class Transfers(TorchFunctionMode):
    """Notes the shape of every tensor that is handed to the host."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[tuple[int, ...]] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in ("cpu", "numpy", "tolist", "item", "__bool__", "__array__"):
            self.shapes.append(tuple(args[0].shape))
        return func(*args, **(kwargs or {}))


def test_only_the_best_scores_and_rows_come_to_the_host(tokenizer: Any) -> None:
    index = build(tokenizer, make_corpus(20), "torch")
    queries = torch.from_numpy(unit(9, seed=6))
    with Transfers() as transfers:
        index.search(queries, 3)
    assert {shape for shape in transfers.shapes if shape} == {(9, 3)}  # () is the answer to a question, a single value
    with Transfers() as transfers:
        build(tokenizer, make_corpus(20), "faiss").search(queries, 3)
    assert (9, HIDDEN) in transfers.shapes  # the test sees what it looks for


def test_vectors_follow_the_queries_to_an_accelerator_once(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = filled("torch")
    moves = []
    monkeypatch.setattr(
        TorchBackend, "_moved", staticmethod(lambda vectors, device: moves.append(device) or vectors.to("meta"))
    )
    cpu, gpu = torch.device("cpu"), torch.device("meta")
    assert backend._vectors_for(cpu).device == cpu  # type: ignore[attr-defined]
    assert backend._vectors_for(gpu).device == gpu  # type: ignore[attr-defined]
    assert backend._vectors_for(cpu).device == gpu  # type: ignore[attr-defined]
    assert moves == [gpu]
