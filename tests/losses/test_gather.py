"""Negatives across processes: the result is that of one process with the joined batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.two_processes import run_together
from torch import Tensor

from onegen_hf.losses import BPRLoss, InfoNCELoss, gather_candidates, gather_other_anchors
from onegen_hf.losses.contrastive import count_anchors

HIDDEN = 5


def problem(case: str) -> list[dict[str, Tensor]]:
    """What each process holds: anchors, keys of its passages, targets. Equal keys have equal embeddings."""
    generator = torch.Generator().manual_seed(7)

    def rank(anchors: int, keys: list[int], targets: list[list[int]]) -> dict[str, Tensor]:
        return {
            "anchors": torch.randn(anchors, HIDDEN, generator=generator),
            "keys": torch.tensor(keys, dtype=torch.int64),
            "targets": torch.tensor(targets, dtype=torch.int8).view(anchors, len(keys)),
        }

    return {
        "disjoint": [rank(2, [1, 2], [[1, 0], [0, 1]]), rank(1, [3, 4], [[1, 0]])],
        "different sizes": [rank(1, [1], [[1]]), rank(3, [2, 3, 4], [[1, 0, -1], [0, 1, 0], [0, 0, 1]])],
        # 2 is a positive on the first and a negative on the second; 3 the other way round.
        "shared": [rank(2, [1, 2, 3], [[1, 0, 0], [0, 1, 0]]), rank(2, [3, 2, 5], [[1, 0, 0], [0, 0, 1]])],
        "all shared": [rank(1, [1, 2], [[1, 0]]), rank(1, [2, 1], [[1, 0]])],
        "key zero": [rank(1, [0, 1], [[1, 0]]), rank(2, [0, 2, 3], [[0, 1, 0], [1, 0, 0]])],
        "one without passages": [rank(0, [], []), rank(2, [1, 2], [[1, 0], [0, 1]])],
        "none with passages": [rank(0, [], []), rank(0, [], [])],
    }[case]


def embedding_of(key: int) -> Tensor:
    """The same on every process."""
    return torch.randn(HIDDEN, generator=torch.Generator().manual_seed(100 + key))


def embeddings_of(keys: Tensor) -> Tensor:
    """Shape (n, hidden), with gradients."""
    rows = [embedding_of(int(key)) for key in keys]
    return (torch.stack(rows) if rows else torch.empty(0, HIDDEN)).requires_grad_()


def joined(parts: list[dict[str, Tensor]]) -> dict[str, Any]:
    """One process, each passage once: a passage that an anchor's own process does not hold is a negative."""
    keys = list(dict.fromkeys(int(key) for part in parts for key in part["keys"]))
    rows = []
    for part in parts:
        own = part["keys"].tolist()
        rows += [[int(t[own.index(key)]) if key in own else 0 for key in keys] for t in part["targets"]]
    anchors = torch.cat([part["anchors"] for part in parts]).requires_grad_()
    return {
        "keys": keys,
        "anchors": anchors,
        "embeddings": embeddings_of(torch.tensor(keys)),
        "targets": torch.tensor(rows, dtype=torch.int8).view(len(anchors), len(keys)),
    }


LOSSES = {"bpr": BPRLoss(2.0), "bpr_sum": BPRLoss(2.0, "sum"), "info_nce": InfoNCELoss(2.0),
          "info_nce_symmetric": InfoNCELoss(2.0, symmetric=True)}  # fmt: skip
CASES = [
    "disjoint",
    "different sizes",
    "shared",
    "all shared",
    "key zero",
    "one without passages",
    "none with passages",
]


def one_rank(rank: int) -> dict[str, dict[str, Tensor]]:
    """All cases and losses, to start processes only once."""
    results = {}
    for case in CASES:
        part = problem(case)[rank]
        total = max(sum(int(count_anchors(other["targets"])) for other in problem(case)), 1)
        for name, loss in LOSSES.items():
            anchors = part["anchors"].clone().requires_grad_()
            embeddings = embeddings_of(part["keys"])
            candidates = gather_candidates(embeddings, part["keys"], part["targets"])
            others = gather_other_anchors(anchors, candidates.targets)
            assert others is not None and len(others.embeddings) == len(problem(case)[1 - rank]["anchors"])
            value = loss(anchors, candidates.embeddings, candidates.targets, total, others)
            value.backward()
            assert anchors.grad is not None and embeddings.grad is not None
            results[f"{case}/{name}"] = {
                "loss": value.detach(), "anchors": anchors.grad, "embeddings": embeddings.grad,
                "targets": candidates.targets,
            }  # fmt: skip
    return results


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, dict[str, Tensor]]]:
    directory: Path = tmp_path_factory.mktemp("gather")
    return run_together(one_rank, directory)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("case", CASES)
def test_two_processes_equal_one(case: str, name: str, two_ranks: list[dict[str, dict[str, Tensor]]]) -> None:
    parts = problem(case)
    results = [rank[f"{case}/{name}"] for rank in two_ranks]
    whole = joined(parts)
    expected = LOSSES[name](whole["anchors"], whole["embeddings"], whole["targets"], max(len(whole["anchors"]), 1))
    expected.backward()
    if case != "none with passages":
        assert expected.item() > 0
    torch.testing.assert_close(results[0]["loss"] + results[1]["loss"], expected.detach())
    torch.testing.assert_close(torch.cat([result["anchors"] for result in results]), whole["anchors"].grad)
    # A passage that both hold gets its gradient in two parts.
    gradient = torch.zeros_like(whole["embeddings"])
    for part, result in zip(parts, results, strict=True):
        for key, row in zip(part["keys"].tolist(), result["embeddings"], strict=True):
            gradient[whole["keys"].index(key)] += row
    torch.testing.assert_close(gradient, whole["embeddings"].grad)


def test_a_copy_on_another_process_is_ignored(two_ranks: list[dict[str, dict[str, Tensor]]]) -> None:
    # Candidates 1 2 3 | 3 2 5: the second 3 and 2 are copies; the verdict on them is that of the anchor's own process.
    first, second = (rank["shared/bpr"]["targets"].tolist() for rank in two_ranks)
    assert first == [[1, 0, 0, -1, -1, 0], [0, 1, 0, -1, -1, 0]]
    assert second == [[0, 0, 1, -1, -1, 0], [0, 0, 0, -1, -1, 1]]


def test_alone_nothing_happens() -> None:
    embeddings, keys, targets = torch.ones(2, 3), torch.tensor([1, 1]), torch.tensor([[1, 0]])
    candidates = gather_candidates(embeddings, keys, targets)
    assert candidates.embeddings is embeddings and candidates.targets is targets
    assert gather_other_anchors(embeddings, targets) is None
