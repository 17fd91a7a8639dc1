"""BPR and InfoNCE against values worked out by hand, plain-Python formulas and finite differences."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from onegen_hf.losses import CONTRASTIVE_LOSSES, BPRLoss, InfoNCELoss
from onegen_hf.losses.contrastive import count_anchors, in_batch_accuracy, usable_anchors

# Cosines: anchor 0 with the candidates: 1, 0, -1, 0.6; anchor 1: 0, 1, 0, 0.8.
ANCHORS = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
CANDIDATES = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [3.0, 4.0]])
TARGETS = torch.tensor([[1, 0, 0, -1], [0, 1, -1, 1]], dtype=torch.int8)

LOSSES = {"bpr_mean": BPRLoss(3.0), "bpr_sum": BPRLoss(3.0, "sum"), "info_nce": InfoNCELoss(3.0),
          "info_nce_symmetric": InfoNCELoss(3.0, symmetric=True)}  # fmt: skip


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        # Anchor 0: ½ (ln(1 + e⁻¹) + ln(1 + e⁻²)) = ½ (0.3132617 + 0.1269280) = 0.2200948.
        # Anchor 1: ½ (ln(1 + e⁻¹) + ln(1 + e^-0.8)) = ½ (0.3132617 + 0.3711007) = 0.3421812.
        (BPRLoss(scale=1.0), (0.2200948 + 0.3421812) / 2),
        # Differences times 5: anchor 0: ½ (0.0067153 + 0.0000454); anchor 1: ½ (0.0067153 + 0.0181499).
        (BPRLoss(scale=5.0), (0.00338036 + 0.01243263) / 2),
        # Anchor 0: 0.3132617 + 0.1269280; anchor 1 has one negative.
        (BPRLoss(scale=1.0, negatives="sum"), (0.4401897 + 0.3421812) / 2),
        # Anchor 0: ln(1 + e⁻¹ + e⁻²) = ln 1.5032147 = 0.4076060; anchor 1 as above.
        (InfoNCELoss(scale=1.0), (0.4076060 + 0.3421812) / 2),
        # Other direction: candidate 0 against anchor 1: 0.3132617; candidate 1 against anchor 0: the same; candidate
        # 3 is ignored by anchor 0, so it is no one's negative: 0. Anchor 0: ½ (0.4076060 + 0.3132617); anchor 1: ½ of
        # ½ (0.3132617 + 0.3132617) + ½ (0.3711007 + 0).
        (InfoNCELoss(scale=1.0, symmetric=True), (0.3604339 + 0.2494060) / 2),
    ],
)
def test_by_hand(loss: Any, expected: float) -> None:
    found = loss(ANCHORS, CANDIDATES, TARGETS)
    assert found.shape == () and found.dtype == torch.float32
    assert found.item() == pytest.approx(expected, abs=1e-6)
    # The length of the vectors is no matter, and the number of anchors divides.
    assert loss(3 * ANCHORS, 0.1 * CANDIDATES, TARGETS).item() == pytest.approx(expected, abs=1e-6)
    assert loss(ANCHORS, CANDIDATES, TARGETS, num_anchors=8).item() == pytest.approx(expected / 4, abs=1e-6)
    assert loss(ANCHORS, CANDIDATES, TARGETS, torch.tensor(8)).item() == pytest.approx(expected / 4, abs=1e-6)


def test_default_scale_is_20() -> None:
    # A gap of 0.1 counts as 2: ln(1 + e⁻²) = 0.1269280.
    anchors = torch.tensor([[1.0, 0.0]])
    candidates = torch.tensor([[1.0, 0.0], [0.9, math.sqrt(1 - 0.81)]])
    for name in ("bpr", "info_nce"):
        loss = CONTRASTIVE_LOSSES[name]()
        assert loss.get_config_dict()["scale"] == 20.0
        assert loss(anchors, candidates, torch.tensor([[1, 0]])).item() == pytest.approx(0.1269280, abs=1e-5)


def cosine(a: list[float], b: list[float]) -> float:
    """Plain Python."""
    return sum(x * y for x, y in zip(a, b, strict=True)) / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def plain_loss(name: str, scale: float, anchors: Any, candidates: Any, targets: Any) -> float:
    """The formulas of the docstrings, loop by loop, in double precision; targets hold a positive in every row."""
    total = 0.0
    for anchor, row in zip(anchors, targets, strict=True):
        scores = [scale * cosine(anchor, candidate) for candidate in candidates]
        positives = [(column, scores[column]) for column, target in enumerate(row) if target == 1]
        negatives = [s for s, t in zip(scores, row, strict=True) if t == 0]
        if not negatives:
            continue
        for column, p in positives:
            if name.startswith("info_nce"):
                part = -math.log(math.exp(p) / (math.exp(p) + sum(math.exp(n) for n in negatives)))
                if name == "info_nce_symmetric":
                    rivals = [
                        scale * cosine(other, candidates[column])
                        for other, verdicts in zip(anchors, targets, strict=True)
                        if verdicts[column] == 0
                    ]
                    part += -math.log(math.exp(p) / (math.exp(p) + sum(map(math.exp, rivals))))
                    part /= 2
            else:
                part = sum(-math.log(1 / (1 + math.exp(n - p))) for n in negatives)
                part /= len(negatives) if name == "bpr_mean" else 1
            total += part / len(positives)
    return total / len(targets)


def random_problem(seed: int, n_anchors: int = 3, n_candidates: int = 6, hidden: int = 4) -> tuple[Tensor, ...]:
    """Anchors, candidates, targets; each row has a positive."""
    generator = torch.Generator().manual_seed(seed)
    anchors = torch.randn(n_anchors, hidden, generator=generator)
    candidates = torch.randn(n_candidates, hidden, generator=generator)
    targets = torch.randint(-1, 2, (n_anchors, n_candidates), generator=generator)
    targets[torch.arange(n_anchors), torch.arange(n_anchors)] = 1
    return anchors, candidates, targets


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("seed", range(5))
def test_value_and_gradient_against_plain_python(name: str, seed: int) -> None:
    anchors, candidates, targets = random_problem(seed)
    anchors.requires_grad_()
    candidates.requires_grad_()
    found = LOSSES[name](anchors, candidates, targets)
    found.backward()
    plain = {"anchors": anchors.tolist(), "candidates": candidates.tolist()}
    assert found.item() == pytest.approx(plain_loss(name, 3.0, **plain, targets=targets.tolist()), rel=1e-5)
    step = 1e-4
    for which, tensor in (("anchors", anchors), ("candidates", candidates)):
        assert tensor.grad is not None
        for row in range(tensor.shape[0]):
            for column in range(tensor.shape[1]):
                values = []
                for sign in (1, -1):
                    moved = {key: [list(r) for r in value] for key, value in plain.items()}
                    moved[which][row][column] += sign * step
                    values.append(plain_loss(name, 3.0, **moved, targets=targets.tolist()))
                slope = (values[0] - values[1]) / (2 * step)
                assert tensor.grad[row, column].item() == pytest.approx(slope, rel=1e-3, abs=2e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_ignored_candidates_have_no_influence(name: str) -> None:
    anchors, candidates, targets = random_problem(0)
    candidates.requires_grad_()
    extra = torch.cat([candidates, 100 * torch.ones(2, 4)])
    ignored = torch.cat([targets, torch.full((3, 2), -1)], dim=1)
    loss = LOSSES[name]
    assert loss(anchors, extra, ignored).item() == pytest.approx(loss(anchors, candidates, targets).item(), rel=1e-6)
    (grad,) = torch.autograd.grad(loss(anchors, candidates, torch.tensor([[1, 0, -1, -1, -1, -1]] * 3)), candidates)
    assert (grad[:2].abs().sum(dim=1) > 0).all()
    assert (grad[2:] == 0).all()


@pytest.mark.parametrize("name", LOSSES)
def test_a_duplicate_negative_dilutes_as_documented(name: str) -> None:
    anchors, candidates = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.1], [0.0, 1.0], [0.0, 1.0]])
    once = LOSSES[name](anchors, candidates[:2], torch.tensor([[1, 0]])).item()
    twice = LOSSES[name](anchors, candidates, torch.tensor([[1, 0, 0]])).item()
    assert twice == pytest.approx(once) if name == "bpr_mean" else twice > 1.5 * once


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize(
    "targets",
    [torch.zeros(2, 4), torch.ones(2, 4), torch.full((2, 4), -1), torch.tensor([[1, 1, -1, 1], [0, 0, 0, -1]])],
)
def test_no_usable_anchor(name: str, targets: Tensor) -> None:
    anchors, candidates = ANCHORS.clone().requires_grad_(), CANDIDATES.clone().requires_grad_()
    found = LOSSES[name](anchors, candidates, targets.to(torch.int8))
    found.backward()
    assert found.item() == 0.0
    assert anchors.grad is not None and (anchors.grad == 0).all()
    assert candidates.grad is not None and (candidates.grad == 0).all()


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize(("n_anchors", "n_candidates"), [(0, 0), (0, 3), (2, 0)])
def test_empty(name: str, n_anchors: int, n_candidates: int) -> None:
    anchors = torch.ones(n_anchors, 4, requires_grad=True)
    candidates = torch.ones(n_candidates, 4, requires_grad=True)
    found = LOSSES[name](anchors, candidates, torch.zeros(n_anchors, n_candidates, dtype=torch.int8))
    assert found.item() == 0.0
    found.backward()


@pytest.mark.parametrize("name", LOSSES)
def test_anchors_without_a_positive_do_not_count_but_those_without_a_negative_do(name: str) -> None:
    loss = LOSSES[name]
    alone = loss(ANCHORS[:1], CANDIDATES, TARGETS[:1]).item()
    no_positive = torch.stack([TARGETS[0], torch.tensor([0, 0, 0, -1], dtype=torch.int8)])
    assert loss(ANCHORS, CANDIDATES, no_positive).item() == pytest.approx(alone)
    no_negative = torch.stack([TARGETS[0], torch.tensor([1, 1, -1, -1], dtype=torch.int8)])
    assert loss(ANCHORS, CANDIDATES, no_negative).item() == pytest.approx(alone / 2)
    assert count_anchors(no_negative) == 2
    assert usable_anchors(no_negative).tolist() == [True, False]


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_embeddings_with_a_large_scale_stay_finite(name: str, dtype: torch.dtype) -> None:
    loss = type(LOSSES[name])(1000.0)
    anchors = ANCHORS.to(dtype).requires_grad_()
    found = loss(anchors, CANDIDATES.to(dtype), torch.tensor([[0, 0, 1, 0], [1, 0, 0, 0]]))
    found.backward()
    assert math.isfinite(found.item()) and found.item() > 100
    assert anchors.grad is not None and anchors.grad.isfinite().all()


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10_000),
    n_anchors=st.integers(1, 4),
    n_candidates=st.integers(4, 9),
    scale=st.floats(0.1, 50.0),
)
def test_bpr_sum_bounds_info_nce(seed: int, n_anchors: int, n_candidates: int, scale: float) -> None:
    problem = random_problem(seed, n_anchors, n_candidates)
    upper = BPRLoss(scale, "sum")(*problem).item()
    middle = InfoNCELoss(scale)(*problem).item()
    assert upper >= middle - 1e-4 * max(1.0, middle)
    assert middle >= 0.0
    order = torch.randperm(n_candidates, generator=torch.Generator().manual_seed(seed))
    shuffled = BPRLoss(scale)(problem[0], problem[1][order], problem[2][:, order]).item()
    assert shuffled == pytest.approx(BPRLoss(scale)(*problem).item(), rel=1e-4, abs=1e-5)


def test_the_losses_agree_with_one_negative() -> None:
    targets = torch.tensor([[1, 0, -1, -1], [1, -1, -1, 0]])
    one_way = [loss for name, loss in LOSSES.items() if name != "info_nce_symmetric"]
    values = [loss(ANCHORS, CANDIDATES, targets).item() for loss in one_way]
    assert values == pytest.approx([values[0]] * 3)


# In both directions an anchor is compared with the others.
@pytest.mark.parametrize("name", [name for name in LOSSES if name != "info_nce_symmetric"])
def test_one_anchor_gives_its_own_part(name: str) -> None:
    anchors, candidates, targets = random_problem(3)
    loss = LOSSES[name]
    parts = [loss(anchors[n : n + 1], candidates, targets[n : n + 1]).item() for n in range(3)]
    assert loss(anchors, candidates, targets).item() == pytest.approx(sum(parts) / 3)


def test_in_batch_accuracy() -> None:
    assert in_batch_accuracy(ANCHORS, CANDIDATES, TARGETS).item() == 1.0
    wrong = torch.tensor([[0, 1, 0, -1], [0, 1, -1, 1]])  # anchor 0 prefers candidate 0
    assert in_batch_accuracy(ANCHORS, CANDIDATES, wrong).item() == 0.5
    ignored = torch.tensor([[-1, 1, 0, -1], [0, 1, -1, 1]])  # the better ones do not compete
    assert in_batch_accuracy(ANCHORS, CANDIDATES, ignored).item() == 1.0
    assert math.isnan(in_batch_accuracy(ANCHORS, CANDIDATES, torch.zeros(2, 4)).item())


def test_settings_and_citations() -> None:
    assert BPRLoss(7.0, "sum").get_config_dict() == {"scale": 7.0, "negatives": "sum"}
    assert InfoNCELoss(7.0).get_config_dict() == {"scale": 7.0}
    assert "rendle2009bpr" in BPRLoss().citation and "oord2018cpc" in InfoNCELoss().citation
    assert set(CONTRASTIVE_LOSSES) == {"bpr", "info_nce"}


def test_errors() -> None:
    with pytest.raises(
        ValueError, match=r"targets has shape \(1, 4\), expected \(n_anchors, n_candidates\) = \(2, 4\)"
    ):
        BPRLoss()(ANCHORS, CANDIDATES, TARGETS[:1])
    with pytest.raises(ValueError, match="scale=0 must be above 0"):
        BPRLoss(scale=0)
    with pytest.raises(ValueError, match="scale=-1 must be above 0"):
        InfoNCELoss(scale=-1)
    with pytest.raises(ValueError, match="negatives='max' is unknown: choose one of 'mean', 'sum'"):
        BPRLoss(negatives="max")
