"""Databases that keep passages with their vectors, behind one interface."""

from __future__ import annotations

import importlib
from typing import Any

from .base import PassageStore, StoredRow, StoreError
from .location import StoreLocation, is_store_url, without_password

__all__ = [
    "STORES",
    "PassageStore",
    "StoreError",
    "StoreLocation",
    "StoredRow",
    "is_store_url",
    "open_store",
    "without_password",
]

STORES = {
    "qdrant": "qdrant.QdrantStore",
    "milvus": "milvus.MilvusStore",
    "postgresql": "postgres.PostgresStore",
    "lance": "lance.LanceStore",
    "hf": "lance.LanceStore",
}
"""Scheme of a URL → where its class is; imported when it is needed. A new store is a file here and an entry."""


def open_store(url: str) -> PassageStore:
    """
    Connect to a database.

    Args:
        url (`str`): Such as `"qdrant://localhost:6333/films"`; see [`StoreLocation`].

    Raises:
        `ImportError`: If the package of its client is missing; names the extra.
        `ValueError`: If the URL is none of a store.
        `StoreError`: If it cannot be reached.
    """
    location = StoreLocation.parse(url, tuple(STORES))
    module, _, name = STORES[location.scheme].partition(".")
    kind: Any = getattr(importlib.import_module(f".{module}", __package__), name)
    store: PassageStore = kind(location)
    return store
