"""The Matryoshka loss against values worked out by hand, and its gradient."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from onegen_hf.losses import Anchors, BPRLoss, ContrastiveLoss, InfoNCELoss, MatryoshkaLoss, contrastive
from onegen_hf.similarity import similarity_matrix

LOSSES = {
    "bpr": BPRLoss(3.0),
    "bpr_sum": BPRLoss(3.0, "sum"),
    "info_nce": InfoNCELoss(3.0),
    "symmetric": InfoNCELoss(3.0, symmetric=True),
}
# Cosines of the anchor with the candidates, first number: 1 and -1, whole: 0.6 and 0.8.
ANCHOR, CANDIDATES = torch.tensor([[1.0, 0.0]]), torch.tensor([[3.0, 4.0], [-4.0, 3.0]])
TARGETS = torch.tensor([[1, 0]])


@pytest.mark.parametrize("dims", [[1], [1, 2], [2, 1]])
@pytest.mark.parametrize("name", ["bpr", "bpr_sum", "info_nce"])
def test_by_hand(name: str, dims: list[int]) -> None:
    # One negative: every loss is ln(1 + exp(3 (s_n - s_p))). First number: s_p - s_n = 2; whole: 0.6 + 0.8 = 1.4.
    expected = (math.log1p(math.exp(-6)) + math.log1p(math.exp(-4.2))) / 2
    loss = MatryoshkaLoss(LOSSES[name], dims)
    assert loss(ANCHOR, CANDIDATES, TARGETS).item() == pytest.approx(expected, abs=1e-6)
    assert loss(ANCHOR, CANDIDATES, TARGETS, num_anchors=4).item() == pytest.approx(expected / 4, abs=1e-6)


def test_the_whole_alone_is_the_inner_loss() -> None:
    anchors, candidates = torch.randn(3, 5), torch.randn(4, 5)
    targets = torch.tensor([[1, 0, 0, -1], [0, 1, 0, 0], [1, -1, 0, 0]])
    for inner in LOSSES.values():
        assert torch.equal(
            MatryoshkaLoss(inner, [5])(anchors, candidates, targets), inner(anchors, candidates, targets)
        )


@pytest.mark.parametrize("name", LOSSES)
def test_is_the_mean_over_prefixes(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    anchors, candidates = (torch.randn(n, 6, generator=generator) for n in (3, 5))
    others = Anchors(torch.randn(2, 6, generator=generator), torch.tensor([[0, 1, 0, 0, 0], [0, 0, 0, 1, -1]]))
    targets = torch.tensor([[1, 0, 0, 0, -1], [0, 0, 1, 0, 0], [0, 1, 1, 0, 0]])
    inner, seen = LOSSES[name], others if LOSSES[name].compares_anchors else None
    parts = [
        inner(
            anchors[:, :d], candidates[:, :d], targets, None,
            None if seen is None else Anchors(seen.embeddings[:, :d], seen.targets),
        )
        for d in (2, 4, 6)
    ]  # fmt: skip
    loss = MatryoshkaLoss(inner, [4, 2])
    assert loss.compares_anchors == inner.compares_anchors
    found = loss(anchors, candidates, targets, None, seen)
    assert found.item() == pytest.approx(torch.stack(parts).mean().item(), rel=1e-6)


def cosine_in_double(queries: Tensor, passages: Tensor) -> Tensor:
    return normalize(queries, dim=-1) @ normalize(passages, dim=-1).T


@pytest.mark.parametrize("name", LOSSES)
def test_gradient(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # The package's similarity is float32, too coarse for finite differences.
    monkeypatch.setattr(contrastive, "similarity_matrix", cosine_in_double)
    generator = torch.Generator().manual_seed(1)
    inputs = tuple(torch.randn(n, 5, generator=generator, dtype=torch.float64, requires_grad=True) for n in (3, 4))
    targets = torch.tensor([[1, 0, 0, -1], [0, 1, 0, 0], [1, -1, 0, 0]])
    loss = MatryoshkaLoss(LOSSES[name], [2, 3])
    assert torch.autograd.gradcheck(lambda a, c: loss(a, c, targets), inputs)


def test_no_usable_anchor() -> None:
    anchors, candidates = torch.ones(2, 4, requires_grad=True), torch.ones(3, 4, requires_grad=True)
    found = MatryoshkaLoss(BPRLoss(), [2])(anchors, candidates, torch.zeros(2, 3))
    found.backward()
    assert found.item() == 0.0
    assert anchors.grad is not None and not anchors.grad.any()


@pytest.mark.parametrize(
    ("dims", "message"),
    [
        ([0], r"dims\[0\]=0 must be at least 1"),
        ([2, 2], r"dims=\[2, 2\] holds 2 more than once"),
        ([2.5], r"dims\[0\]=2.5 must be an integer"),
        ([True], r"dims\[0\]=True must be an integer"),
        ([], r"dims=\[\] is empty"),
    ],
)
def test_faulty_dims(dims: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        MatryoshkaLoss(BPRLoss(), dims)


def test_a_prefix_longer_than_the_embedding() -> None:
    with pytest.raises(ValueError, match=r"matryoshka_dims=\[2, 9\] holds 9, but embeddings have 4 dimensions"):
        MatryoshkaLoss(BPRLoss(), [9, 2])(torch.ones(1, 4), torch.ones(2, 4), TARGETS)


def test_settings_and_citation() -> None:
    loss = MatryoshkaLoss(BPRLoss(7.0, "sum"), [4, 2])
    assert isinstance(loss, ContrastiveLoss)
    assert loss.get_config_dict() == {"scale": 7.0, "negatives": "sum", "matryoshka_dims": [2, 4]}
    assert "rendle2009bpr" in loss.citation and "kusupati2022matryoshka" in loss.citation


def test_costs_one_product_per_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[tuple[int, ...]] = []

    def recorded(queries: Tensor, passages: Tensor) -> Tensor:
        sizes.append((*queries.shape, len(passages)))
        return similarity_matrix(queries, passages)

    monkeypatch.setattr(contrastive, "similarity_matrix", recorded)
    targets = torch.eye(4, 9, dtype=torch.int8)
    MatryoshkaLoss(InfoNCELoss(symmetric=True), [8, 2])(torch.randn(4, 16), torch.randn(9, 16), targets)
    assert sizes == [(4, 2, 9), (4, 8, 9), (4, 16, 9)]
