"""Recall and MRR."""

from __future__ import annotations

import math

import pytest
import torch

from onegen_hf.metrics.anchor_ranks import best_positive_ranks, rank_metrics

AXES = torch.eye(4)


def test_ranks_by_hand() -> None:
    anchors = torch.tensor([[4.0, 3.0, 2.0, 1.0], [1.0, 2.0, 3.0, 4.0], [4.0, 3.0, 2.0, 1.0]])
    # The order of the axes is 0 1 2 3 for the first and the last anchor, 3 2 1 0 for the second.
    assert best_positive_ranks(anchors, AXES, [[0], [0], [3, 1]]).tolist() == [1, 4, 1 + 1]


def test_other_positives_do_not_stand_in_the_way() -> None:
    anchor = torch.tensor([[4.0, 3.0, 2.0, 1.0]])
    assert best_positive_ranks(anchor, AXES, [[1, 2, 3]]).tolist() == [2]
    assert best_positive_ranks(anchor, AXES, [[0, 1, 2, 3]]).tolist() == [1]


def test_ties_count_against_the_positive() -> None:
    # A model that maps everything to one point must not score.
    passages = torch.ones(5, 3)
    assert best_positive_ranks(torch.ones(2, 3), passages, [[0], [4]]).tolist() == [5, 5]


def test_metrics_by_hand() -> None:
    found = rank_metrics(torch.tensor([1, 2, 5, 10]), recall_at=(1, 5))
    assert found == pytest.approx({"recall@1": 0.25, "recall@5": 0.75, "mrr": (1 + 0.5 + 0.2 + 0.1) / 4})
    assert rank_metrics(torch.tensor([], dtype=torch.int64)) == {}


def test_against_sorting() -> None:
    generator = torch.Generator().manual_seed(1)
    anchors, passages = torch.randn(20, 6, generator=generator), torch.randn(30, 6, generator=generator)
    positives = [[n, (7 * n + 3) % 30] for n in range(20)]
    order = torch.nn.functional.cosine_similarity(anchors[:, None], passages[None], dim=-1).argsort(1, descending=True)
    places = [min(row.tolist().index(p) for p in own) for row, own in zip(order, positives, strict=True)]
    # The other positive of the same anchor never stands before the best one, so both ways of counting agree.
    assert best_positive_ranks(anchors, passages, positives).tolist() == [place + 1 for place in places]
    assert not math.isnan(rank_metrics(best_positive_ranks(anchors, passages, positives))["mrr"])


def test_lengths_must_match() -> None:
    with pytest.raises(ValueError, match="zip"):
        best_positive_ranks(torch.ones(2, 3), torch.ones(3, 3), [[0]])
