"""Graphs and clusters of the databases that have them: nearly as good as an exact search, also behind a filter."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.store_engines import Engines, require_engine
from support.store_passages import fill, passages, search, unit

COUNT = 4000


@pytest.mark.parametrize(
    ("engine", "option"), [("postgresql", "index=hnsw"), ("milvus", "index=HNSW"), ("lance", "index=IVF_FLAT")]
)
def test_the_best_are_found(engine: str, option: str, all_engines: Engines) -> None:
    require_engine(engine)
    url = all_engines.url(engine)
    vectors, queries = unit(COUNT), unit(40, seed=1)
    collection = fill(f"{url}{'&' if '?' in url else '?'}{option}", passages(COUNT), vectors)
    try:
        numbers = np.arange(COUNT)
        filters: list[tuple[Any, np.ndarray]] = [
            (None, numbers >= 0),
            ({"lang": "de"}, numbers % 2 == 1),
            ({"n": {"$lt": 40}}, numbers < 40),
            ({"n": {"$lt": 3}}, numbers < 3),
        ]
        for condition, allowed in filters:
            best = np.where(allowed, queries @ vectors.T, -np.inf).argmax(axis=1)
            found = search(collection, queries, 1, condition)
            right = [of_query == [f"p{row}"] for of_query, row in zip(found, best, strict=True)]
            assert np.mean(right) >= 0.9, condition
        assert all(len(of_query) == 3 for of_query in search(collection, queries, 5, {"n": {"$lt": 3}}))
    finally:
        collection.store.close()
