"""Finds the entities of a text's mentions by their embeddings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor

from ..data.passages import Passage
from ..index.retriever import Retriever
from .aliases import AliasTable
from .markup import Span

NIL = "NIL"
"""Entity id of a mention whose entity is not in the catalogue; the metrics treat it as such."""
PRIOR_DEPTH = 1000
"""Number of nearest entities of a mention that are checked for a prior of its surface form."""


class EntityPriors:
    """
    Prior probabilities of the entities of a catalogue, given surface forms.

    Args:
        table ([`AliasTable`])
        index ([`PassageIndex`]): Its ids are read once; only those of entities with a surface form are kept.
    """

    def __init__(self, table: AliasTable, index: Retriever) -> None:
        self.table = table
        known = table.entity_ids
        ids = ((row, index[row].id) for row in range(index.num_rows))
        self._entity_of_row = {row: entity for row, entity in ids if entity in known}

    def of_rows(self, surface: str, rows: Iterable[int]) -> dict[int, float]:
        """Row → prior, for those of `rows` that the surface form refers to."""
        priors = self.table.priors(surface)
        named = ((row, self._entity_of_row.get(row)) for row in rows) if priors else ()
        return {row: priors[entity] for row, entity in named if entity in priors}


def link_mentions(
    index: Retriever,
    text: str,
    spans: Sequence[Span],
    embeddings: Tensor,
    top_k: int = 5,
    threshold: float | None = None,
    priors: EntityPriors | None = None,
    prior_weight: float = 0.0,
) -> list[dict[str, Any]]:
    """
    Search all mentions of a text at once.

    Args:
        index ([`PassageIndex`]): The entity catalogue.
        text (`str`)
        spans (`Sequence[tuple[int, int]]`): In code points.
        embeddings (`Tensor` of shape `(len(spans), hidden)`): The hidden state at each mention's `[LK]`.
        top_k (`int`, *optional*, defaults to 5): Candidates per mention.
        threshold (`float`, *optional*): A mention whose best score is lower is NIL.
        priors ([`EntityPriors`], *optional*): Also adds those of the [`PRIOR_DEPTH`] nearest entities to the
            candidates that the mention's surface form refers to.
        prior_weight (`float`, *optional*, defaults to 0.0): A candidate's score is its cosine plus this weight times
            its prior; see [`~onegen_hf.linking.prior_weight.fit_prior_weight`].

    Returns:
        `list[dict]`: `mention`, `start`, `end`, `entity_id`, `name`, `score` and `candidates` (a list of `entity_id`,
        `name`, `score`, best first; with `priors` also `similarity` and `prior`) of each span. A NIL mention has the
        id `"NIL"`, an empty name, and the score of its best candidate.

    Raises:
        `ValueError`: If `prior_weight` is set without `priors`.
    """
    if prior_weight and priors is None:
        raise ValueError(f"prior_weight={prior_weight} needs an alias table: give the pipeline `aliases=...`")
    if not spans:
        return []
    linked: list[dict[str, Any]] = []
    scores, rows = index.search(embeddings, top_k if priors is None else max(top_k, PRIOR_DEPTH))
    for (start, end), span_scores, span_rows in zip(spans, scores, rows, strict=True):
        hits = {int(row): float(score) for row, score in zip(span_rows, span_scores, strict=True) if row >= 0}
        if priors is None:
            candidates = [_candidate(index[row], score) for row, score in hits.items()]
        else:
            candidates = _with_priors(index, hits, priors.of_rows(text[start:end], hits), top_k, prior_weight)
        entity = choose(candidates, threshold)
        linked.append({"mention": text[start:end], "start": start, "end": end, **entity, "candidates": candidates})
    return linked


def choose(candidates: Sequence[Mapping[str, Any]], threshold: float | None = None) -> dict[str, Any]:
    """
    The entity that a mention is linked to.

    Args:
        candidates (`Sequence[Mapping]`): `entity_id`, `name` and `score`, best first.
        threshold (`float`, *optional*): The mention is NIL if the best score is lower.

    Returns:
        `dict`: `entity_id`, `name` and `score`.
    """
    if not candidates:
        return {"entity_id": NIL, "name": "", "score": 0.0}
    best = {name: candidates[0][name] for name in ("entity_id", "name", "score")}
    return best if threshold is None or best["score"] >= threshold else {**best, "entity_id": NIL, "name": ""}


def _candidate(entity: Passage, score: float) -> dict[str, Any]:
    return {"entity_id": entity.id, "name": entity.title, "score": score}


def _with_priors(
    index: Retriever, hits: Mapping[int, float], priors: Mapping[int, float], top_k: int, weight: float
) -> list[dict[str, Any]]:
    nearest = list(hits)[:top_k]
    scored = {row: hits[row] + weight * priors.get(row, 0.0) for row in dict.fromkeys([*nearest, *priors])}
    return [
        {**_candidate(index[row], scored[row]), "similarity": hits[row], "prior": priors.get(row, 0.0)}
        for row in sorted(scored, key=lambda row: -scored[row])
    ]
