"""`HardNegativeMiner`: from what a search finds to the `negatives` of an example."""

from __future__ import annotations

import itertools
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from data_builders.answer_matching import holds_answer, words
from data_builders.documents import DocumentStore
from data_builders.hard_negatives.anchors import Anchor, read_anchors
from data_builders.hard_negatives.corpus import Corpus, passage_text
from data_builders.options import check_options
from data_builders.schema import DEFAULT_QUERY_TOKEN

Documents = DocumentStore | Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Request:
    """
    What is searched for at one query token.

    Args:
        anchor (`Anchor`):
            Query and answers.
        positives (`frozenset[int]`):
            The rows of its positives.
        excluded (`frozenset[int]`):
            Rows that cannot be mined: all positives of the example and the negatives that are there.
    """

    anchor: Anchor
    positives: frozenset[int]
    excluded: frozenset[int]


Search = Callable[[Sequence[Request]], list[list[int]]]
"""Rows for every request, the most similar first; positives may be among them."""


@dataclass
class HardNegativeMiner(ABC):
    """
    Adds mined negatives to examples. Subclasses say how to search.

    Args:
        num_negatives (`int`, *optional*, defaults to 5):
            The most negatives mined per query token.
        query_token (`str`, *optional*, defaults to `"[RQ]"`):
            The token that asks for a retrieval.
        depth (`int`, *optional*, defaults to 50):
            How many of the passages found are looked through for `num_negatives` true negatives.
        relative_margin (`float`, *optional*):
            Leaves out passages that score above the (worst) positive's score less this share of it. `None` for no
            limit; [`DenseMiner`] has a default of its own.
        exclude_answers (`bool`, *optional*, defaults to `True`):
            Leaves out passages that hold the hop's answer.
        exclude_same_title (`bool`, *optional*, defaults to `False`):
            Leaves out passages with the title of a positive. Off, because the other paragraphs of an article are the
            best hard negatives that there are; for a corpus that has each article once, or in several versions, turn
            it on. A passage with the very text of a positive is always left out.
        examples_per_batch (`int`, *optional*, defaults to 256):
            Examples held in memory at a time.

    Raises:
        `ValueError`: If an option is out of its range.
    """

    num_negatives: int = 5
    query_token: str = DEFAULT_QUERY_TOKEN
    depth: int = 50
    relative_margin: float | None = None
    exclude_answers: bool = True
    exclude_same_title: bool = False
    examples_per_batch: int = field(default=256, repr=False)

    def __post_init__(self) -> None:
        check_options(self)
        if self.num_negatives < 0:
            raise ValueError(f"`num_negatives` must not be negative, got {self.num_negatives}.")
        if self.depth < max(self.num_negatives, 1):
            raise ValueError(f"`depth` must be at least `num_negatives` ({self.num_negatives}), got {self.depth}.")
        if self.relative_margin is not None and not 0 <= self.relative_margin <= 1:
            raise ValueError(f"`relative_margin` must be between 0 and 1, got {self.relative_margin}.")
        if self.examples_per_batch < 1:
            raise ValueError(f"`examples_per_batch` must be at least 1, got {self.examples_per_batch}.")

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """The method and its settings, as `meta` records them."""

    @abstractmethod
    def open(self, corpus: Corpus) -> AbstractContextManager[Search]:
        """Index the corpus; what comes out of the context manager searches it."""

    def __call__(self, examples: Iterable[Mapping[str, Any]], documents: Documents) -> Iterator[dict[str, Any]]:
        """
        Mine negatives.

        Args:
            examples (`Iterable[Mapping[str, Any]]`):
                Records of the `examples` config; they are streamed and not changed.
            documents (`DocumentStore` or `Sequence[Mapping]`):
                The documents that they refer to.

        Returns:
            `Iterator[dict[str, Any]]`: The examples in their order, with more `negatives` and with `meta`.

        Raises:
            `ValueError`: If an example refers to an unknown document or has not as many lists as query tokens.
        """
        corpus, stream = Corpus(documents), iter(examples)
        described = self._settings()
        with self.open(corpus) as search:
            while batch := list(itertools.islice(stream, self.examples_per_batch)):
                requests = [self._requests(example, corpus) for example in batch]
                asked = [request for row in requests for request in row if request is not None]
                found = iter(search(asked) if asked and self.num_negatives else [[] for _ in asked])
                for example, row in zip(batch, requests, strict=True):
                    mined = [[] if r is None else self._choose(r, next(found), corpus) for r in row]
                    yield _with_negatives(example, mined, described)

    def _settings(self) -> dict[str, Any]:
        shared = ("num_negatives", "depth", "relative_margin", "exclude_answers", "exclude_same_title")
        return {**self.describe(), **{name: getattr(self, name) for name in shared}}

    def _requests(self, example: Mapping[str, Any], corpus: Corpus) -> list[Request | None]:
        anchors = read_anchors(example, self.query_token)
        positives, negatives = example["positives"], example["negatives"]
        if not len(anchors) == len(positives) == len(negatives):
            raise ValueError(
                f"example {example['id']!r}: {len(anchors)} query tokens {self.query_token}, {len(positives)} lists "
                f"of positives and {len(negatives)} of negatives; check `query_token` or build the examples again."
            )
        gold = corpus.rows(itertools.chain.from_iterable(positives))
        return [
            Request(anchor, frozenset(corpus.rows(own)), frozenset(gold | corpus.rows(there))) if own else None
            for anchor, own, there in zip(anchors, positives, negatives, strict=True)
        ]

    def _choose(self, request: Request, found: Sequence[int], corpus: Corpus) -> list[str]:
        positives = [corpus[row] for row in sorted(request.positives)]
        texts = {words(document.text) for document in positives}
        titles = {words(document.title) for document in positives if document.title}
        chosen: list[str] = []
        for row in itertools.islice((row for row in found if row not in request.excluded), self.depth):
            if len(chosen) == self.num_negatives:
                break
            document = corpus[row]
            text = words(document.text)
            if text in texts or (self.exclude_same_title and words(document.title) in titles):
                continue
            if self.exclude_answers and holds_answer(passage_text(document), request.anchor.answers):
                continue
            texts.add(text)
            chosen.append(document.id)
        return chosen


def _with_negatives(
    example: Mapping[str, Any], mined: Sequence[list[str]], described: Mapping[str, Any]
) -> dict[str, Any]:
    meta = json.loads(example.get("meta") or "{}")
    meta["negatives"] = {**described, "mined": [len(ids) for ids in mined]}
    negatives = [[*there, *ids] for there, ids in zip(example["negatives"], mined, strict=True)]
    return {**example, "negatives": negatives, "meta": json.dumps(meta, ensure_ascii=False, sort_keys=True)}
