"""`summarize_evaluation`: what the steps of an evaluation kept becomes its metrics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..metrics.anchor_ranks import best_positive_ranks, rank_metrics


def summarize_evaluation(records: list[dict[str, Any]], recall_at: Sequence[int]) -> dict[str, float]:
    """Join what the evaluation steps kept: losses per token and per anchor, and retrieval over all passages."""
    tokens = sum(record["tokens"] for record in records)
    anchors = sum(record["anchors"] for record in records)
    metrics: dict[str, float] = {}
    if tokens:
        metrics["loss_gen"] = sum(record["loss_gen"] for record in records if record["tokens"]) / tokens
    if anchors:
        metrics["loss_ret"] = sum(record.get("loss_ret", 0.0) for record in records) / anchors
        if any("loss_distill" in record for record in records):
            metrics["loss_distill"] = sum(record.get("loss_distill", 0.0) for record in records) / anchors
        passages: dict[int, Tensor] = {}
        for record in records:
            passages |= record.get("passages", {})
        row_of = {key: row for row, key in enumerate(passages)}
        embeddings = torch.cat([r["anchor_embeddings"] for r in records if "anchor_embeddings" in r])
        positives = [[row_of[key] for key in keys] for r in records for keys in r.get("positives", [])]
        ranks = best_positive_ranks(embeddings, torch.stack(list(passages.values())), positives)
        metrics |= rank_metrics(ranks, recall_at)
        metrics["num_passages"] = float(len(passages))
    return metrics
