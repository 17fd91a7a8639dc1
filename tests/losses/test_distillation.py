"""The distillation loss against values worked out by hand, and its gradient."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from onegen_hf.losses import DistillationLoss, distillation

NAN = math.nan
# Cosines: anchor 0 with the candidates: 1, 0, -1, 0.6; anchor 1: 0, 1, 0, 0.8.
ANCHORS = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
CANDIDATES = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [3.0, 4.0]])
TARGETS = torch.tensor([[1, 0, 0, -1], [0, 1, 0, 0]], dtype=torch.int8)
TEACHER = torch.tensor([[0.5, 0.0, NAN, 0.9], [NAN, 0.5, NAN, 0.5]])


def kl(teacher: list[float], student: list[float]) -> float:
    """Plain Python; both lists are logits."""
    p, q = ([math.exp(x) / sum(map(math.exp, logits)) for x in logits] for logits in (teacher, student))
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def test_by_hand() -> None:
    # Anchor 0 knows the candidates 0 and 1 (2 has no score, 3 is ignored): teacher 0.5 / 0.5 = 1 and 0, model 2 and 0:
    # p = (0.7310586, 0.2689414), q = (0.8807971, 0.1192029): KL = -0.1362205 + 0.2188283. Anchor 1 knows 1 and 3:
    # teacher 1 and 1, model 2 and 1.6: p = (0.5, 0.5), q = (0.5986877, 0.4013123): KL = -0.0900660 + 0.1099340.
    loss = DistillationLoss(scale=2.0, temperature=0.5)
    found = loss(ANCHORS, CANDIDATES, TARGETS, TEACHER)
    assert found.shape == () and found.dtype == torch.float32
    assert kl([1, 0], [2, 0]) == pytest.approx(0.0826077, abs=1e-6)
    assert found.item() == pytest.approx((0.0826077 + 0.0198681) / 2, abs=1e-6)
    assert loss(3 * ANCHORS, 0.1 * CANDIDATES, TARGETS, TEACHER).item() == pytest.approx(found.item(), abs=1e-6)
    assert loss(ANCHORS, CANDIDATES, TARGETS, TEACHER, 8).item() == pytest.approx(found.item() / 4, abs=1e-6)
    assert loss(ANCHORS, CANDIDATES, TARGETS, TEACHER, torch.tensor(8)).item() == pytest.approx(
        found.item() / 4, abs=1e-6
    )


def test_nothing_to_learn_from_a_teacher_that_agrees() -> None:
    anchors = ANCHORS.clone().requires_grad_()
    teacher = normalize(ANCHORS) @ normalize(CANDIDATES).T
    found = DistillationLoss(scale=20.0, temperature=0.05)(anchors, CANDIDATES, TARGETS, teacher)
    found.backward()
    assert found.item() == pytest.approx(0.0, abs=1e-6)
    assert anchors.grad is not None and anchors.grad.abs().max() < 1e-4


def test_the_divisor_counts_anchors_with_a_positive_and_not_those_with_a_score() -> None:
    loss = DistillationLoss(scale=2.0, temperature=0.5)
    teacher = TEACHER.clone()
    teacher[1] = NAN
    assert loss(ANCHORS, CANDIDATES, TARGETS, teacher).item() == pytest.approx(0.0826077 / 2, abs=1e-6)


@pytest.mark.parametrize(
    "teacher", [torch.full((2, 4), NAN), torch.tensor([[NAN, NAN, NAN, 0.4], [NAN, 0.1, NAN, NAN]])]
)
def test_without_two_known_scores_there_is_nothing_to_rank(teacher: Tensor) -> None:
    anchors, candidates = ANCHORS.clone().requires_grad_(), CANDIDATES.clone().requires_grad_()
    found = DistillationLoss()(anchors, candidates, TARGETS, teacher)
    found.backward()
    assert found.item() == 0.0
    for tensor in (anchors, candidates):
        assert tensor.grad is not None and not tensor.grad.any()


@pytest.mark.parametrize(("n_anchors", "n_candidates"), [(0, 0), (0, 3), (2, 0)])
def test_empty(n_anchors: int, n_candidates: int) -> None:
    anchors = torch.ones(n_anchors, 4, requires_grad=True)
    candidates = torch.ones(n_candidates, 4, requires_grad=True)
    shape = (n_anchors, n_candidates)
    found = DistillationLoss()(anchors, candidates, torch.zeros(shape), torch.zeros(shape))
    assert found.item() == 0.0
    found.backward()


def test_unknown_columns_have_no_gradient() -> None:
    candidates = CANDIDATES.clone().requires_grad_()
    DistillationLoss()(ANCHORS, candidates, TARGETS, TEACHER).backward()
    assert candidates.grad is not None
    assert not candidates.grad[2].any()
    assert candidates.grad[[1, 3]].abs().sum(dim=1).min() > 0


def test_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    # The package's similarity is float32, too coarse for finite differences.
    monkeypatch.setattr(distillation, "similarity_matrix", lambda a, c: normalize(a, dim=-1) @ normalize(c, dim=-1).T)
    generator = torch.Generator().manual_seed(1)
    inputs = tuple(torch.randn(n, 3, generator=generator, dtype=torch.float64, requires_grad=True) for n in (2, 4))
    loss = DistillationLoss(scale=3.0, temperature=0.5)
    assert torch.autograd.gradcheck(lambda a, c: loss(a, c, TARGETS, TEACHER), inputs)


def test_the_teacher_keeps_its_precision_under_autocast() -> None:
    # In bfloat16 both scores are 0.8984.
    anchors, candidates = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0], [2.0, 0.0]])
    teacher, targets = torch.tensor([[0.8980, 0.8990]]), torch.tensor([[1, 0]])
    loss = DistillationLoss(temperature=0.001)
    with torch.autocast("cpu", torch.bfloat16):
        found = loss(anchors, candidates, targets, teacher)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(kl([1, 0], [0, 0]), abs=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"temperature": 0}, "temperature=0 must be above 0"), ({"scale": NAN}, "scale=nan must be a finite number")],
)
def test_faulty_settings(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DistillationLoss(**options)


def test_shapes() -> None:
    with pytest.raises(ValueError, match=r"teacher_scores \(2, 3\), expected \(n_anchors, n_candidates\) = \(2, 4\)"):
        DistillationLoss()(ANCHORS, CANDIDATES, TARGETS, TEACHER[:, :3])
    assert DistillationLoss(3.0, 0.5).get_config_dict() == {"scale": 3.0, "temperature": 0.5}
