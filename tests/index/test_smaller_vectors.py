"""Indexes that keep fewer numbers of an embedding, or smaller ones."""

from __future__ import annotations

import json
import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.index_fixtures import HIDDEN, CountedEmbed, make_corpus, make_model

from onegen_hf.index import PassageIndex
from onegen_hf.index.backends import FaissBackend, PrefixBackend, TorchBackend
from onegen_hf.index.encode import encode_passages

DIMENSIONS = 8


@pytest.fixture(scope="module")
def model(tokenizer: Any) -> Any:
    return make_model(tokenizer, matryoshka_dims=[DIMENSIONS, 16])


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def queries(number: int = 5) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(number, HIDDEN)).astype(np.float32)


def expected_scores(index: PassageIndex, model: Any, tokenizer: Any) -> np.ndarray:
    embeddings = encode_passages(model, tokenizer, list(index), show_progress=False).embeddings
    return unit(queries()[:, :DIMENSIONS]) @ unit(embeddings[:, :DIMENSIONS]).T


@pytest.mark.parametrize("backend", ["faiss", "torch"])
def test_a_search_compares_prefixes(backend: str, model: Any, tokenizer: Any, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        built = PassageIndex.build(
            model, tokenizer, make_corpus(30), show_progress=False, backend=backend, dimensions=DIMENSIONS
        )
    expected = expected_scores(built, model, tokenizer)
    built.save(tmp_path / "index")
    loaded = PassageIndex.load(tmp_path / "index")
    for index in (built, loaded, pickle.loads(pickle.dumps(loaded))):
        assert index.dimension == HIDDEN and index.backend.settings["dimensions"] == DIMENSIONS
        scores, rows = index.search(queries(), 4)
        np.testing.assert_allclose(scores, -np.sort(-expected, axis=1)[:, :4], atol=1e-5)
        np.testing.assert_allclose(scores, np.take_along_axis(expected, rows, axis=1), atol=1e-5)
    size = (tmp_path / "index" / loaded.backend.file_name).stat().st_size
    assert 30 * DIMENSIONS * 4 <= size < 30 * DIMENSIONS * 4 + 300


def test_updates_cut_new_passages(model: Any, tokenizer: Any) -> None:
    corpus = make_corpus(30)
    whole = PassageIndex.build(model, tokenizer, corpus, show_progress=False, dimensions=DIMENSIONS)
    grown = PassageIndex.build(model, tokenizer, corpus[:20], show_progress=False, dimensions=DIMENSIONS)
    grown.update(model, tokenizer, corpus[20:], show_progress=False)
    np.testing.assert_allclose(grown.search(queries(), 3)[0], whole.search(queries(), 3)[0], atol=1e-5)
    grown.remove([passage.id for passage in whole][:10])
    assert len(grown) == 20 and isinstance(grown.backend, PrefixBackend)
    assert grown.search(queries(), 1)[0].shape == (5, 1)


@pytest.mark.parametrize(("precision", "share", "tolerance"), [("float16", 0.5, 1e-3), ("int8", 0.25, 0.02)])
def test_precision(precision: str, share: float, tolerance: float, model: Any, tokenizer: Any, tmp_path: Path) -> None:
    options: dict[str, Any] = {"show_progress": False, "dimensions": 16}
    exact = PassageIndex.build(model, tokenizer, make_corpus(200), **options)
    small = PassageIndex.build(model, tokenizer, make_corpus(200), precision=precision, **options)
    np.testing.assert_allclose(small.search(queries(), 5)[0], exact.search(queries(), 5)[0], atol=tolerance)
    exact.save(tmp_path / "exact")
    small.save(tmp_path / "small")
    sizes = [(tmp_path / name / "index.faiss").stat().st_size for name in ("small", "exact")]
    assert sizes[0] < sizes[1] * share + 400
    loaded = PassageIndex.load(tmp_path / "small")
    np.testing.assert_array_equal(loaded.search(queries(), 5)[1], small.search(queries(), 5)[1])


def test_embeddings_made_elsewhere(model: Any, tokenizer: Any) -> None:
    corpus = make_corpus(12)
    embeddings = encode_passages(model, tokenizer, corpus, show_progress=False).embeddings
    index = PassageIndex.from_embeddings(embeddings, corpus, model, tokenizer, dimensions=DIMENSIONS)
    built = PassageIndex.build(model, tokenizer, corpus, show_progress=False, dimensions=DIMENSIONS)
    np.testing.assert_allclose(index.search(queries(), 3)[0], built.search(queries(), 3)[0], atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dimensions": HIDDEN + 1}, rf"dimensions={HIDDEN + 1} is more than the {HIDDEN}"),
        ({"dimensions": 0}, "dimensions=0 must be at least 1"),
        ({"precision": "int4"}, "precision='int4'"),
        ({"precision": "int8", "factory": "HNSW32"}, "precision='int8' is for factory='Flat'"),
        ({"precision": "int8", "backend": "torch"}, "precision='int8' is no option of the torch backend"),
    ],
)
def test_what_cannot_be_is_refused_before_the_work(options: dict[str, Any], message: str, tokenizer: Any) -> None:
    model = make_model(tokenizer, matryoshka_dims=[DIMENSIONS])
    counted = CountedEmbed(model)
    with pytest.raises(ValueError, match=message):
        PassageIndex.build(model, tokenizer, make_corpus(5), show_progress=False, **options)
    assert not counted.rows


def test_a_model_without_prefixes_is_warned_of(model: Any, tokenizer: Any) -> None:
    plain = make_model(tokenizer)
    for other, words in ((plain, "without `matryoshka_dims`"), (model, r"for \[8, 16\]")):
        with pytest.warns(UserWarning, match=f"dimensions=4: the model was trained {words}"):
            PassageIndex.build(other, tokenizer, make_corpus(5), show_progress=False, dimensions=4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        PassageIndex.build(plain, tokenizer, make_corpus(5), show_progress=False, dimensions=HIDDEN)


def test_vectors_of_another_length_are_not_taken_for_prefixes(model: Any, tokenizer: Any, tmp_path: Path) -> None:
    PassageIndex.build(model, tokenizer, make_corpus(5), show_progress=False, dimensions=DIMENSIONS).save(tmp_path)
    path = tmp_path / "index.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "dimensions": 16}))
    with pytest.raises(ValueError, match="have dimension 8 and not dimensions=16"):
        PassageIndex.load(tmp_path)
    path.write_text(json.dumps({**content, "dimensions": "8"}))
    with pytest.raises((TypeError, ValueError), match="dimensions"):
        PassageIndex.load(tmp_path)


def test_a_prefix_of_zeros_has_no_direction() -> None:
    vectors = np.zeros((2, 4), np.float32)
    vectors[:, 3] = 1
    with pytest.raises(ValueError, match="the first 2 numbers of an embedding are all zero"):
        PrefixBackend(TorchBackend(), 2).build(vectors)


def test_search_parameters_are_those_inside() -> None:
    backend = PrefixBackend(FaissBackend("HNSW8"), 4)
    backend.build(unit(queries(50)))
    backend.set_search_parameters(efSearch=7)
    assert backend.search_parameters == {"efSearch": 7}
    assert backend.count == 50 and backend.dimension == HIDDEN
