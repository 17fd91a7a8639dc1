"""Which entities the embeddings of a text's mentions name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor

from ..passages import Passage
from .markup import Span

NIL = "NIL"
"""The id of a mention whose entity is not in the catalogue; the metrics read it as such."""


class EntityCatalogue(Protocol):
    """What is needed of a [`PassageIndex`]."""

    def search(self, embeddings: Any, k: int) -> tuple[Any, Any]:
        """Scores and rows of the `k` nearest entities of each embedding."""

    def __getitem__(self, row: int) -> Passage: ...


def link_mentions(
    index: EntityCatalogue,
    text: str,
    spans: Sequence[Span],
    embeddings: Tensor,
    top_k: int = 5,
    threshold: float | None = None,
) -> list[dict[str, Any]]:
    """
    Search all mentions of a text at once.

    Args:
        index ([`PassageIndex`]): The entity catalogue.
        text (`str`)
        spans (`Sequence[tuple[int, int]]`): In code points.
        embeddings (`Tensor` of shape `(len(spans), hidden)`): The hidden state at each mention's `[LK]`.
        top_k (`int`, *optional*, defaults to 5): Candidates of a mention.
        threshold (`float`, *optional*): A mention whose best score is lower is NIL.

    Returns:
        `list[dict]`: `mention`, `start`, `end`, `entity_id`, `name`, `score` and `candidates` (a list of `entity_id`,
        `name`, `score`, best first) of each span. A NIL mention has the id `"NIL"`, an empty name, and the score of
        its best candidate.
    """
    if not spans:
        return []
    linked: list[dict[str, Any]] = []
    scores, rows = index.search(embeddings, top_k)
    for (start, end), own_scores, own_rows in zip(spans, scores, rows, strict=True):
        hits = [(index[int(row)], float(score)) for row, score in zip(own_rows, own_scores, strict=True) if row >= 0]
        candidates = [{"entity_id": entity.id, "name": entity.title, "score": score} for entity, score in hits]
        best: dict[str, Any] = dict(candidates[0]) if candidates else {"entity_id": NIL, "name": "", "score": 0.0}
        if threshold is not None and best["score"] < threshold:
            best |= {"entity_id": NIL, "name": ""}
        linked.append({"mention": text[start:end], "start": start, "end": end, **best, "candidates": candidates})
    return linked
