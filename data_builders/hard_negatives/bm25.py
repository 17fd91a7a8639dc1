"""Hard negatives by BM25: passages that share rare words with the query."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from data_builders.hard_negatives.corpus import Corpus, passage_text
from data_builders.hard_negatives.miner import HardNegativeMiner, Request, Search


def import_bm25s() -> ModuleType:
    """
    The library, as if JAX were not installed. Where it is, `bm25s` lets it look for the best of a few numbers while it
    is imported, and JAX then reserves three quarters of a GPU's memory for this process.

    Not at the head of the module, because a build without mined negatives need not wait for it.
    """
    hidden = "jax" not in sys.modules
    if hidden:
        sys.modules["jax"] = None  # type: ignore[assignment]
    try:
        import bm25s
        import bm25s.tokenization
    finally:
        if hidden:
            del sys.modules["jax"]
    return bm25s


@dataclass
class Bm25Miner(HardNegativeMiner):
    """
    Searches with BM25 (Lucene's variant) over titles and texts, through `bm25s`.

    The index takes memory in proportion to the words of the corpus, a search time in proportion to its documents.

    Args:
        k1 (`float`, *optional*, defaults to 1.5):
            How fast repeating a word stops counting.
        b (`float`, *optional*, defaults to 0.75):
            How much long passages are marked down.
        stopwords (`str`, *optional*, defaults to `"english"`):
            Words left out, a list that `bm25s` knows by this name; `None` for none.
        kwargs:
            See [`HardNegativeMiner`].
    """

    k1: float = 1.5
    b: float = 0.75
    stopwords: str | None = "english"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.k1 < 0 or not 0 <= self.b <= 1:
            raise ValueError(f"`k1` must not be negative and `b` between 0 and 1, got {self.k1} and {self.b}.")

    def describe(self) -> dict[str, Any]:
        """The method and its settings, as `meta` records them."""
        return {"method": "bm25", "k1": self.k1, "b": self.b, "stopwords": self.stopwords}

    @contextmanager
    def open(self, corpus: Corpus) -> Iterator[Search]:
        """Index the corpus, see [`~HardNegativeMiner.open`]."""
        bm25s = import_bm25s()
        tokenizer = bm25s.tokenization.Tokenizer(stopwords=self.stopwords or [])
        tokens = list(tokenizer.streaming_tokenize(passage_text(document) for document in corpus))
        index = bm25s.BM25(k1=self.k1, b=self.b)
        index.index((tokens, tokenizer.word_to_id), show_progress=False)
        del tokens

        def search(requests: Sequence[Request]) -> list[list[int]]:
            queries = tokenizer.streaming_tokenize(
                (request.anchor.query for request in requests), update_vocab="never", allow_empty=False
            )
            return [
                self._best(index.get_scores_from_ids(query), request) if query else []
                for query, request in zip(queries, requests, strict=True)
            ]

        yield search

    def _best(self, scores: np.ndarray, request: Request) -> list[int]:
        if self.relative_margin is not None:
            limit = scores[sorted(request.positives)].min() * (1 - self.relative_margin)
            scores = np.where(scores > limit, 0, scores)
        return best_rows(scores, self.depth + len(request.excluded))


def best_rows(scores: np.ndarray, number: int) -> list[int]:
    """
    The rows with the best scores above 0.

    Args:
        scores (`np.ndarray` of shape `(rows,)`):
            The scores.
        number (`int`):
            How many.

    Returns:
        `list[int]`: The best first, equal ones in their order.
    """
    rows = np.flatnonzero(scores > 0)
    if len(rows) > number:
        rows = rows[scores[rows] >= np.partition(scores[rows], -number)[-number]]
    return rows[np.argsort(-scores[rows], kind="stable")][:number].tolist()
