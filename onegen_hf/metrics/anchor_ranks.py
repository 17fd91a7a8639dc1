"""The fast retrieval scores of an evaluation during training: from embeddings, without an index or a run file.

[`ranking_scores`] computes the official ones from ranked ids; both agree wherever they measure the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..similarity import similarity_matrix


def best_positive_ranks(anchors: Tensor, passages: Tensor, positives: Sequence[Sequence[int]]) -> Tensor:
    """
    Rank of each anchor's best positive among all passages.

    Args:
        anchors (`Tensor` of shape `(n_anchors, hidden)`)
        passages (`Tensor` of shape `(n_passages, hidden)`)
        positives (`Sequence[Sequence[int]]`): Rows of `passages`, at least one per anchor.

    Returns:
        `Tensor` of shape `(n_anchors,)`, int64, 1 for the first place. Ties count against the positive.
    """
    scores = similarity_matrix(anchors, passages)
    ranks = []
    for row, own in zip(scores, positives, strict=True):
        best = row[list(own)].max()
        others = torch.ones_like(row, dtype=torch.bool)
        others[list(own)] = False
        ranks.append(1 + int((row[others] >= best).sum()))
    return torch.tensor(ranks, dtype=torch.int64)


def rank_metrics(ranks: Tensor, recall_at: Sequence[int] = (1, 5)) -> dict[str, float]:
    """
    Args:
        ranks (`Tensor` of shape `(n_anchors,)`): From [`best_positive_ranks`].
        recall_at (`Sequence[int]`, *optional*, defaults to `(1, 5)`)

    Returns:
        `dict[str, float]`: `recall@k` (share of anchors with a positive among the first k) and `mrr`; empty without
        anchors.
    """
    if ranks.numel() == 0:
        return {}
    metrics = {f"recall@{k}": (ranks <= k).float().mean().item() for k in recall_at}
    return {**metrics, "mrr": (1.0 / ranks.double()).mean().item()}
