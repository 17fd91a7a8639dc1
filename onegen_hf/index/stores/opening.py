"""Making an index in a database, and opening one that is there."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ...data.passages import Passage
from ..fingerprint import ModelFingerprint
from . import STORES, open_store
from .collection import StoredCollection
from .location import StoreLocation
from .properties import IndexProperties

logger = logging.getLogger(__name__)


def open_collection(url: str) -> StoredCollection:
    """
    Open the collection that an index lives in.

    Args:
        url (`str`)

    Raises:
        `FileNotFoundError`: If there is none.
        `ValueError`: If it is no index, or its build was interrupted.
        `StoreError`: If the database cannot be reached.
    """
    location = StoreLocation.parse(url, tuple(STORES))
    absent = FileNotFoundError(
        f"{location}: there is no such collection. Make it with `PassageIndex.build(..., backend=url)` or "
        "`onegen-hf index --output-dir URL`"
    )
    if location.folder is not None and not Path(location.folder).exists():
        raise absent  # clients make a local folder that is missing
    store = open_store(url)
    kept = store.properties()
    if kept is None:
        raise absent
    properties = IndexProperties.from_dict(kept, str(store.location))
    if not properties.complete:
        raise ValueError(f"{store.location}: its build was interrupted, and passages are missing: build it again")
    return StoredCollection(store, properties)


class StoreTarget:
    """
    A place in a database where an index is going to be built.

    Args:
        url (`str`)
        dimensions (`int`, *optional*): How many numbers of each embedding to keep; by default all.
        precision (`str`, *optional*, defaults to `"float32"`)

    Raises:
        `ValueError`: If the store does not know the precision, or an index is there already.
        `StoreError`: If the database cannot be reached.
    """

    def __init__(self, url: str, dimensions: int | None = None, precision: str = "float32") -> None:
        self.store = open_store(url)
        self.dimensions, self.precision = dimensions, precision
        if self.store.read_only:
            raise ValueError(
                f"{self.store.location} is only searched: build the index at lance://./folder/"
                f"{self.store.location.name}, and send it with `push_to_hub`"
            )
        if precision not in self.store.precisions:
            raise ValueError(
                f"precision={precision!r}: {self.store.scheme}:// keeps {', '.join(self.store.precisions)}: choose "
                "one of them"
            )
        kept = self.store.properties()
        if kept is not None and IndexProperties.from_dict(kept, str(self.store.location)).complete:
            raise ValueError(
                f"{self.store.location} already holds an index: add to it with `PassageIndex.load(url).update(...)`, "
                "or choose another name"
            )
        self._interrupted = kept is not None

    def check(self, dimension: int, count: int) -> None:
        """Make sure that vectors of this dimension can be kept, before any passage is encoded."""
        if self.dimensions is not None and self.dimensions > dimension:
            raise ValueError(
                f"dimensions={self.dimensions} is more than the {dimension} of the model's embeddings: choose fewer"
            )

    def check_passages(self, passages: Iterable[Passage]) -> None:
        """Make sure that the database can keep these passages, before any is encoded."""
        for passage in passages:
            self.store.check_passage(passage)

    def fill(
        self,
        passages: Sequence[Passage],
        counts: np.ndarray,
        embeddings: np.ndarray,
        fingerprint: ModelFingerprint,
        model_id: str | None,
        revision: str | None,
    ) -> StoredCollection:
        """
        Make the collection. It counts as an index once all is there; one that was interrupted before is made anew.

        Args:
            passages (`Sequence[Passage]`)
            counts (`np.ndarray` of shape `(len(passages),)`): Number of embeddings of each.
            embeddings (`np.ndarray` of shape `(counts.sum(), hidden)`, float32): Of unit length.
            fingerprint ([`ModelFingerprint`]): Of the model that made them.
            model_id (`str`, *optional*), revision (`str`, *optional*): Of the model.
        """
        self.check(embeddings.shape[1], len(embeddings))
        if self._interrupted:
            logger.warning("%s: an earlier build was interrupted, and is made anew", self.store.location)
            self.store.drop()
        granularity = str(fingerprint.facts.get("granularity", "passage"))
        properties = IndexProperties(
            fingerprint, embeddings.shape[1], self.dimensions, self.precision, granularity, model_id, revision
        )
        self.check_passages(passages[n] for n in range(len(passages)))
        begun = replace(properties, complete=False)
        self.store.create(begun.to_dict(), self.dimensions or embeddings.shape[1], self.precision)
        collection = StoredCollection(self.store, properties)
        collection.write(passages, counts, embeddings, new=True)
        self.store.finish()
        self.store.set_properties(properties.to_dict())
        return collection
