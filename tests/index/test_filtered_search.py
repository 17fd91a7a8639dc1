"""A search with a filter: exact among the passages that satisfy it, on every backend and of files and memory alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.index_fixtures import HIDDEN, make_corpus, make_model

from onegen_hf import Passage
from onegen_hf.filters import PassageFilter
from onegen_hf.index import FaissBackend, PassageIndex
from onegen_hf.index.backends import BACKENDS, make_backend

FILTERS = [
    {"lang": "en"},
    {"lang": {"$ne": "en"}},
    {"year": {"$gte": 2010}, "tags": "even"},
    {"$or": [{"year": 2003}, {"lang": None}]},
    {"lang": "nowhere"},
]


def unit(count: int, seed: int = 0, hidden: int = HIDDEN) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(count, hidden)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def described(corpus: list[Passage]) -> list[Passage]:
    metas = [
        None
        if n % 7 == 3
        else {"lang": ["en", "de", "fr"][n % 3], "year": 2000 + n, "tags": [["odd", "even"][n % 2 == 0]]}
        for n in range(len(corpus))
    ]
    return [Passage(p.id, p.title, p.text, p.sentences, meta) for p, meta in zip(corpus, metas, strict=True)]


@pytest.mark.parametrize("name", sorted(BACKENDS))
@pytest.mark.parametrize("allowed_share", [0.0, 0.1, 0.6, 1.0])
def test_a_backend_returns_allowed_rows_only_and_all_the_best(name: str, allowed_share: float) -> None:
    backend = make_backend(name)
    backend.build(unit(200))
    allowed = np.random.default_rng(3).random(200) < allowed_share
    queries = unit(5, seed=1)
    scores, rows = backend.search(torch.from_numpy(queries), 30, allowed)
    expected = np.where(allowed, queries @ unit(200).T, -np.inf)
    for of_query, found in zip(expected, rows, strict=True):
        best = [row for row in np.argsort(-of_query)[:30] if allowed[row]]
        assert found[found >= 0].tolist() == best
    np.testing.assert_allclose(scores[rows >= 0], np.take_along_axis(expected, rows, 1)[rows >= 0], atol=1e-6)


@pytest.mark.parametrize("factory", [
        "HNSW32", "IVF16,Flat", "IVF16,PQ8np", "IVF16,PQ8np,RFlat",
        pytest.param("OPQ8,IVF16,PQ8np", marks=pytest.mark.slow),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore")
def test_an_approximate_index_finds_the_few_that_a_filter_leaves(factory: str) -> None:
    backend = FaissBackend(factory)
    backend.build(unit(2000))
    allowed = np.zeros(2000, bool)
    allowed[[5, 700, 1900]] = True
    _, rows = backend.search(torch.from_numpy(unit(4, seed=1)), 3, allowed)
    assert (np.sort(rows, axis=1) == [5, 700, 1900]).all()


def test_all_that_a_filter_leaves_of_a_binary_index_are_compared_again() -> None:
    backend = FaissBackend(precision="binary")
    backend.build(unit(4000))
    allowed = np.arange(4000) % 100 == 3
    queries = unit(40, seed=1)
    _, rows = backend.search(torch.from_numpy(queries), 1, allowed)
    expected = np.where(allowed, queries @ unit(4000).T, -np.inf).argmax(axis=1)
    assert np.mean(rows[:, 0] == expected) > 0.9  # int8 may swap two that are equally near


def test_what_faiss_cannot_filter_is_named() -> None:
    backend = FaissBackend("PQ8np")
    backend.build(unit(300))
    with pytest.raises(ValueError, match="filter: FAISS cannot filter an index of the kind IndexPQ"):
        backend.search(torch.from_numpy(unit(1)), 1, np.ones(300, bool))


@pytest.mark.parametrize("granularity", ["passage", "sentence"])
@pytest.mark.parametrize("backend", sorted(BACKENDS))
@pytest.mark.parametrize("kept", ["memory", "files", "changed"])
def test_a_filtered_search_equals_that_of_an_index_of_these_passages(
    tokenizer: Any, granularity: str, backend: str, kept: str, tmp_path: Path
) -> None:
    model = make_model(tokenizer, granularity=granularity)
    corpus = described(make_corpus(30))
    index = PassageIndex.build(model, tokenizer, corpus, backend=backend, show_progress=False)
    if kept == "files":
        index.save(tmp_path)
        index = PassageIndex.load(tmp_path)
    if kept == "changed":
        corpus[4] = Passage("p4", "Another", "An old song.", ("An old song.",), {"lang": "en", "year": 1950})
        index.update(model, tokenizer, [corpus[4], Passage("new", "", "A mill.", ("A mill.",), {"lang": "en"})])
        index.remove(["p0"])
        corpus = [*corpus[1:], Passage("new", "", "A mill.", ("A mill.",), {"lang": "en"})]
    queries = unit(4, seed=2)
    for filter in FILTERS:
        wanted = [passage for passage in corpus if PassageFilter(filter).matches(passage.meta)]
        scores, rows = index.search(queries, 6, filter=filter)
        assert rows.shape == (4, 6)
        assert ((rows >= 0).sum(axis=1) == min(6, len(wanted))).all()
        if not wanted:
            continue
        alone = PassageIndex.build(model, tokenizer, wanted, backend=backend, show_progress=False)
        expected, expected_rows = alone.search(queries, 6)
        np.testing.assert_allclose(scores[rows >= 0], expected.ravel(), atol=1e-5)
        found = [index[int(row)].id for row in rows[rows >= 0]]
        assert found == [alone[int(row)].id for row in expected_rows.ravel()]


def test_prefixes_are_filtered(tokenizer: Any) -> None:
    model = make_model(tokenizer)
    with pytest.warns(UserWarning, match="dimensions=8"):
        index = PassageIndex.build(model, tokenizer, described(make_corpus(20)), dimensions=8, show_progress=False)
    _, rows = index.search(unit(2), 20, filter={"lang": "en"})
    assert {index[int(row)].meta["lang"] for row in rows.ravel() if row >= 0} == {"en"}


def test_a_text_is_searched_with_a_filter(tokenizer: Any) -> None:
    model = make_model(tokenizer)
    index = PassageIndex.build(model, tokenizer, described(make_corpus(20)), show_progress=False)
    hits = index.search_text("a red kite", k=20, filter={"lang": "de", "year": {"$lt": 2010}})
    assert hits and all(hit.meta["lang"] == "de" and hit.meta["year"] < 2010 for hit in hits)
    with pytest.raises(ValueError, match=r"filter\['year'\]\['\$lessthan'\]"):
        index.search_text("a red kite", filter={"year": {"$lessthan": 1}})
