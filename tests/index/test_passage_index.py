"""Building and searching an index."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.index_fixtures import HIDDEN, CountedEmbed, make_corpus, make_model

from onegen_hf import Passage
from onegen_hf.index import ModelFingerprint, PassageIndex
from onegen_hf.index.backends.faiss import FaissBackend, build_faiss
from onegen_hf.index.backends.faiss_installation import import_faiss
from onegen_hf.index.backends.faiss_reading import read_faiss
from onegen_hf.index.encode import as_document_store, encode_passages


@pytest.fixture(scope="module")
def model(tokenizer: Any) -> Any:
    return make_model(tokenizer)


@pytest.fixture(scope="module")
def index(model: Any, tokenizer: Any) -> PassageIndex:
    return PassageIndex.build(model, tokenizer, make_corpus(30), show_progress=False)


def queries(number: int, hidden: int = HIDDEN) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(number, hidden)).astype(np.float32) * 7


def cosines(index: PassageIndex, model: Any, tokenizer: Any, wanted: np.ndarray) -> np.ndarray:
    stored = encode_passages(model, tokenizer, list(index), show_progress=False).embeddings
    return wanted / np.linalg.norm(wanted, axis=1, keepdims=True) @ stored.T


@pytest.mark.parametrize("number", [1, 2, 25])
@pytest.mark.parametrize("k", [1, 5, 30])
def test_search_equals_brute_force(index: PassageIndex, model: Any, tokenizer: Any, number: int, k: int) -> None:
    expected = cosines(index, model, tokenizer, queries(number))
    scores, rows = index.search(queries(number), k)
    assert scores.shape == rows.shape == (number, k)
    assert (scores.dtype, rows.dtype) == (np.float32, np.int64)
    np.testing.assert_allclose(scores, -np.sort(-expected, axis=1)[:, :k], atol=1e-5)
    np.testing.assert_allclose(scores, np.take_along_axis(expected, rows, axis=1), atol=1e-5)
    assert all(len(set(row)) == k for row in rows.tolist())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_tensors_of_any_dtype(index: PassageIndex, dtype: torch.dtype) -> None:
    tensor = torch.from_numpy(queries(3)).to(dtype).requires_grad_()
    scores, rows = index.search(tensor, 2)
    np.testing.assert_allclose(scores, index.search(tensor.detach().float().numpy(), 2)[0], atol=1e-6)
    assert rows.shape == (3, 2)


def test_k_beyond_the_corpus(index: PassageIndex) -> None:
    scores, rows = index.search(queries(2), 1000)
    assert scores.shape == rows.shape == (2, 30)
    assert sorted(rows[0].tolist()) == list(range(30))


def test_no_query(index: PassageIndex) -> None:
    scores, rows = index.search(queries(0), 3)
    assert scores.shape == rows.shape == (0, 3)
    assert (scores.dtype, rows.dtype) == (np.float32, np.int64)


@pytest.mark.parametrize(
    ("embeddings", "k", "message"),
    [
        (queries(1, 16), 1, "dimension 16 and the index 32"),
        (queries(1)[0], 1, r"shape \(32,\), expected \(n, 32\)"),
        (np.full((2, HIDDEN), np.nan, np.float32), 1, "queries.*NaN"),
        (np.full((2, HIDDEN), np.inf, np.float32), 1, "queries.*infinite"),
        (queries(1), 0, "k=0 must be at least 1"),
        (queries(1), -3, "k=-3 must be at least 1"),
    ],
    ids=["dimension", "one axis", "nan", "infinite", "zero", "negative"],
)
def test_faulty_queries(index: PassageIndex, embeddings: np.ndarray, k: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        index.search(embeddings, k)


def test_access(index: PassageIndex) -> None:
    corpus = make_corpus(30)
    assert len(index) == index.num_rows == 30
    assert index.dimension == HIDDEN
    assert [index[row] for row in range(30)] == list(index) == corpus
    assert index[np.int64(3)] == corpus[3]
    assert index.reference(3) == "p3"
    for row in (30, -2):
        with pytest.raises(IndexError, match=f"row {row} of an index with 30 rows"):
            index[row]
    with pytest.raises(IndexError, match="too few, see `set_search_parameters`"):
        index[-1]
    assert "30 passages" in repr(index)


def test_one_passage(model: Any, tokenizer: Any) -> None:
    index = PassageIndex.build(model, tokenizer, ["A kite is red."], show_progress=False)
    scores, rows = index.search(queries(2), 5)
    assert rows.tolist() == [[0], [0]]
    assert index[0] == Passage("0", "", "A kite is red.")


def test_a_passage_finds_itself(index: PassageIndex, model: Any, tokenizer: Any) -> None:
    own = encode_passages(model, tokenizer, make_corpus(30), show_progress=False).embeddings
    scores, rows = index.search(own, 1)
    assert rows[:, 0].tolist() == list(range(30))
    np.testing.assert_allclose(scores, 1, atol=1e-5)


def test_build_refuses(model: Any, tokenizer: Any) -> None:
    with pytest.raises(ValueError, match="corpus is empty"):
        PassageIndex.build(model, tokenizer, [], show_progress=False)
    with pytest.raises(ValueError, match="more than one passage"):
        PassageIndex.build(model, tokenizer, make_corpus(2) * 2, show_progress=False)
    with pytest.raises(TypeError, match="not a OneGenForCausalLM"):
        PassageIndex.build(torch.nn.Linear(1, 1), tokenizer, make_corpus(2), show_progress=False)
    with pytest.raises(ValueError, match="do not go with 3 vectors"):
        vectors = FaissBackend.of(build_faiss(queries(3), "Flat"))
        PassageIndex(make_corpus(2), vectors, np.ones(2), ModelFingerprint.of(model, tokenizer))
    with pytest.raises(ValueError, match="dimension 16 and the fingerprint of their model 32"):
        vectors = FaissBackend.of(build_faiss(queries(2, 16), "Flat"))
        PassageIndex(make_corpus(2), vectors, np.ones(2), ModelFingerprint.of(model, tokenizer))


# One embedding per sentence.


@pytest.mark.parametrize("k", [1, 2, 7, 12, 50])
def test_sentences_give_distinct_passages(tokenizer: Any, k: int) -> None:
    model, corpus = make_model(tokenizer, granularity="sentence"), make_corpus(12)
    index = PassageIndex.build(model, tokenizer, corpus, show_progress=False)
    encoded = encode_passages(model, tokenizer, corpus, show_progress=False)
    assert (len(index), index.num_rows) == (12, 30)
    assert [index[row] for row in range(30)] == [corpus[owner] for owner in encoded.owners]
    wanted = queries(6)
    scores, rows = index.search(wanted, k)
    assert rows.shape == (6, min(k, 12))
    similarity = wanted / np.linalg.norm(wanted, axis=1, keepdims=True) @ encoded.embeddings.T
    best = np.stack([similarity[:, encoded.owners == owner].max(axis=1) for owner in range(12)], axis=1)
    np.testing.assert_allclose(scores, -np.sort(-best, axis=1)[:, :k], atol=1e-5)
    np.testing.assert_allclose(scores, np.take_along_axis(similarity, rows, axis=1), atol=1e-5)
    assert all(len({index[row].id for row in found}) == min(k, 12) for found in rows)


def test_sentence_reference(tokenizer: Any) -> None:
    model = make_model(tokenizer, granularity="sentence")
    index = PassageIndex.build(model, tokenizer, make_corpus(3), show_progress=False)
    assert [index.reference(row) for row in range(6)] == ["p0#0", "p1#0", "p1#1", "p2#0", "p2#1", "p2#2"]


def test_many_rows_of_one_passage_are_fetched_past(tokenizer: Any) -> None:
    """The first passage has the 60 best rows: the second one is found all the same."""
    model = make_model(tokenizer, granularity="sentence")
    near, far = np.eye(HIDDEN, dtype=np.float32)[:2]
    corpus = [Passage("a", "", "x"), Passage("b", "", "y"), Passage("c", "", "z")]
    rows = np.stack([near] * 60 + [0.6 * near + 0.8 * far, far])
    fingerprint = ModelFingerprint.of(model, tokenizer)
    index = PassageIndex(corpus, FaissBackend.of(build_faiss(rows, "Flat")), np.asarray([60, 1, 1]), fingerprint)
    scores, found = index.search(near[None], 2)
    assert [index[row].id for row in found[0]] == ["a", "b"]
    np.testing.assert_allclose(scores, [[1.0, 0.6]], atol=1e-6)


# Approximate indexes.


@pytest.mark.parametrize("factory", ["HNSW32", "IVF8,Flat", "IVF4,PQ8x4", "PCA16,L2norm,Flat"])
def test_factories(factory: str) -> None:
    vectors = queries(400)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    index = build_faiss(vectors, factory)
    assert (index.ntotal, index.metric_type) == (400, 0)
    _, rows = index.search(vectors[:50], 1)
    assert np.mean(rows[:, 0] == np.arange(50)) > 0.8


def test_too_few_found(model: Any, tokenizer: Any, tmp_path: Path) -> None:
    index = PassageIndex.build(model, tokenizer, make_corpus(30), factory="IVF16,Flat", show_progress=False)
    exact = PassageIndex.build(model, tokenizer, make_corpus(30), show_progress=False)
    index.set_search_parameters(nprobe=1)
    scores, rows = index.search(queries(4), 30)
    assert (rows == -1).any()
    assert np.array_equal(np.isneginf(scores), rows == -1)
    index.save(tmp_path)
    index = PassageIndex.load(tmp_path)
    index.set_search_parameters(nprobe=16)
    np.testing.assert_allclose(index.search(queries(4), 30)[0], exact.search(queries(4), 30)[0], atol=1e-5)


def test_factory_errors(index: PassageIndex) -> None:
    with pytest.raises(ValueError, match="factory='Flatt' is no index of 32 dimensions"):
        build_faiss(queries(4), "Flatt")
    with pytest.raises(ValueError, match="factory='IVF16,Flat' can't be trained on 4 embeddings"):
        build_faiss(queries(4), "IVF16,Flat")
    with pytest.raises(ValueError, match="nprobe=4 is no search parameter"):
        index.set_search_parameters(nprobe=4)


@pytest.mark.parametrize("factory", ["HNSW16_PQ8x4", "PCA16,HNSW16_PQ8x4", "HNSW16_PQ8x4,RFlat"])
def test_kinds_that_know_no_inner_product(tmp_path: Path, factory: str) -> None:
    """FAISS makes them for the L2 distance without a word, and finds the greatest distance "best"."""
    with pytest.raises(ValueError, match="factory='.*L2 distance.*Take 'HNSW32_SQ8'"):
        build_faiss(queries(400), factory)
    faiss = import_faiss()
    faiss.write_index(faiss.index_factory(HIDDEN, factory, faiss.METRIC_INNER_PRODUCT), str(tmp_path / "i"))
    with pytest.raises(ValueError, match="i does not compare by inner product"):
        read_faiss(tmp_path / "i", mmap=True)


# The model that may search.


def test_check_model(index: PassageIndex, model: Any, tokenizer: Any) -> None:
    index.check_model(model, tokenizer)
    index.check_model(make_model(tokenizer).to(torch.bfloat16), tokenizer)
    with pytest.raises(ValueError, match="another model than.*other weights.*build the index again"):
        index.check_model(make_model(tokenizer, seed=3), tokenizer)
    with pytest.raises(ValueError, match="hidden_size 32 against 16"):
        index.check_model(make_model(tokenizer, hidden=16), tokenizer)
    with pytest.raises(TypeError, match="not a OneGenForCausalLM"):
        index.check_model(torch.nn.Linear(1, 1), tokenizer)


def test_index_of_a_bfloat16_model(model: Any, tokenizer: Any) -> None:
    half = make_model(tokenizer).to(torch.bfloat16)
    index = PassageIndex.build(
        half, tokenizer, make_corpus(3), show_progress=False, model_id="org/half", revision="v1"
    )
    index.check_model(model, tokenizer)
    with pytest.raises(ValueError, match=r"another model \(org/half, revision v1\)"):
        index.check_model(make_model(tokenizer, seed=3), tokenizer)


# Interrupted builds.


def test_build_goes_on_and_save_cleans_up(model: Any, tokenizer: Any, tmp_path: Path) -> None:
    corpus, folder = make_corpus(8), tmp_path / "checkpoint"
    killed = make_model(tokenizer)
    CountedEmbed(killed, fail_at=4)  # fingerprint, probe of the checkpoint, two batches
    with pytest.raises(KeyboardInterrupt):
        PassageIndex.build(killed, tokenizer, corpus, batch_size=2, checkpoint_dir=folder, show_progress=False)
    again = make_model(tokenizer)
    counted = CountedEmbed(again)
    index = PassageIndex.build(again, tokenizer, corpus, batch_size=2, checkpoint_dir=folder, show_progress=False)
    assert counted.rows == [4, 4, 2, 2]
    assert folder.is_dir()
    index.save(tmp_path / "index")
    assert not folder.exists()
    straight = PassageIndex.build(model, tokenizer, corpus, batch_size=2, show_progress=False)
    np.testing.assert_allclose(index.search(queries(3), 8)[0], straight.search(queries(3), 8)[0], atol=1e-6)


def test_from_encoded(index: PassageIndex, model: Any, tokenizer: Any) -> None:
    store = as_document_store(make_corpus(30))
    encoded = encode_passages(model, tokenizer, store, show_progress=False)
    other = PassageIndex.from_encoded(store, encoded, index.fingerprint, factory="HNSW32")
    assert np.array_equal(other.search(queries(4), 1)[1], index.search(queries(4), 1)[1])
