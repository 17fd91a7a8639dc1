"""Search parameters: told by name, set by name, and kept with the index."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.index_fixtures import HIDDEN, make_corpus, make_model, make_tokenizer

from onegen_hf.index import ModelFingerprint, PassageIndex
from onegen_hf.index.backends.faiss import FaissBackend, build_faiss

NUMBER = 80


@pytest.fixture(scope="module")
def fingerprint() -> ModelFingerprint:
    tokenizer = make_tokenizer()
    return ModelFingerprint.of(make_model(tokenizer), tokenizer)


def build(fingerprint: ModelFingerprint, factory: str) -> PassageIndex:
    vectors = np.random.default_rng(0).normal(size=(NUMBER, HIDDEN)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    backend = FaissBackend.of(build_faiss(vectors, factory), factory)
    return PassageIndex(make_corpus(NUMBER), backend, np.ones(NUMBER, np.int64), fingerprint)


@pytest.mark.parametrize(
    ("factory", "parameters"),
    [
        ("Flat", {}),
        ("SQ8", {}),
        ("HNSW8", {"efSearch": 128}),
        ("PCA16,L2norm,HNSW8", {"efSearch": 128}),
        ("HNSW8,RFlat", {"efSearch": 128, "k_factor_rf": 1.0}),
        ("IVF4,Flat", {"nprobe": 4, "max_codes": 0}),
        ("IVF40,Flat", {"nprobe": 8, "max_codes": 0}),
        ("PCA16,L2norm,IVF4,Flat", {"nprobe": 4, "max_codes": 0}),
        ("IVF4,PQ8x4", {"nprobe": 4, "max_codes": 0, "ht": 0}),
        ("IVF4_HNSW8,SQ8", {"nprobe": 4, "max_codes": 0, "quantizer_efSearch": 16}),
        ("IVF4,SQ4,RFlat", {"nprobe": 4, "max_codes": 0, "k_factor_rf": 1.0}),
    ],
)
def test_set_values_are_told_and_kept(
    fingerprint: ModelFingerprint, tmp_path: Path, factory: str, parameters: dict[str, float]
) -> None:
    index = build(fingerprint, factory)
    assert index.search_parameters == parameters
    changed = {name: 3 for name in parameters}
    index.set_search_parameters(**changed)
    assert index.search_parameters == changed
    index.save(tmp_path)
    kept = {name: 0 if name in ("max_codes", "ht") else value for name, value in changed.items()}
    assert PassageIndex.load(tmp_path).search_parameters == kept


@pytest.mark.parametrize(
    ("factory", "wrong"), [("Flat", {"nprobe": 4}), ("HNSW8", {"nprobe": 4}), ("IVF4,Flat", {"efSearch": 4})]
)
def test_parameters_of_another_kind(fingerprint: ModelFingerprint, factory: str, wrong: dict[str, Any]) -> None:
    name = next(iter(wrong))
    with pytest.raises(ValueError, match=f"{name}=4 is no search parameter of this index"):
        build(fingerprint, factory).set_search_parameters(**wrong)
