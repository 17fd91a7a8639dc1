"""Passages with random vectors, in a store and as a search finds them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from onegen_hf import Passage
from onegen_hf.filters import PassageFilter
from onegen_hf.index.fingerprint import ModelFingerprint
from onegen_hf.index.stores.collection import StoredCollection
from onegen_hf.index.stores.opening import StoreTarget
from support.index_fixtures import HIDDEN

FINGERPRINT = ModelFingerprint({"granularity": "passage"}, np.eye(4, HIDDEN, dtype=np.float32))
BY_SENTENCE = ModelFingerprint({"granularity": "sentence"}, np.eye(4, HIDDEN, dtype=np.float32))


def unit(count: int, seed: int = 0, hidden: int = HIDDEN) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(count, hidden)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def passages(count: int, first: int = 0) -> list[Passage]:
    return [
        Passage(f"p{n}", f"Title {n}", f"Item {n} is a red kite.", (), {"n": n, "lang": ["en", "de"][n % 2]})
        for n in range(first, first + count)
    ]


def fill(url: str, corpus: list[Passage], vectors: np.ndarray, **options: Any) -> StoredCollection:
    target = StoreTarget(url, **options)
    target.check(vectors.shape[1], len(corpus))
    return target.fill(corpus, np.ones(len(corpus), np.int64), vectors, FINGERPRINT, "org/m", None)


def search(collection: StoredCollection, queries: np.ndarray, k: int, filter: Any = None) -> list[list[str]]:
    wanted = None if filter is None else PassageFilter(filter)
    _, rows = collection.search(torch.from_numpy(queries), k, wanted)
    return [[collection.passage(int(row)).id for row in of_query if row >= 0] for of_query in rows]
