"""The language-model loss over labelled tokens equals the library's over all."""

from __future__ import annotations

import pytest
import torch
from transformers.loss.loss_utils import ForCausalLMLoss

from onegen_hf.losses import causal_lm_loss
from onegen_hf.losses.causal_lm import predicting_positions, shifted_targets

LABELS = torch.tensor([[-100, 4, 2, -100, 1], [3, -100, -100, 0, -100], [5, -100, -100, -100, -100]])


def test_positions_and_targets() -> None:
    # A token is predicted one position earlier; the first token of a row by nothing.
    assert predicting_positions(LABELS).nonzero().tolist() == [[0, 0], [0, 1], [0, 3], [1, 2]]
    assert shifted_targets(LABELS).tolist() == [4, 2, 1, 0]


@pytest.mark.parametrize("num_items", [None, 17])
def test_equals_the_librarys_loss_on_full_logits(num_items: int | None) -> None:
    logits = torch.randn(3, 5, 6, generator=torch.Generator().manual_seed(0), requires_grad=True)
    expected = ForCausalLMLoss(logits, LABELS, vocab_size=6, num_items_in_batch=num_items)
    found = causal_lm_loss(logits[predicting_positions(LABELS)], shifted_targets(LABELS), num_items)
    torch.testing.assert_close(found, expected)
    (wanted,) = torch.autograd.grad(expected, logits)
    torch.testing.assert_close(torch.autograd.grad(found, logits)[0], wanted)
    if num_items is not None:
        tensor = causal_lm_loss(logits[predicting_positions(LABELS)], shifted_targets(LABELS), torch.tensor(num_items))
        torch.testing.assert_close(tensor, expected)


def test_by_hand() -> None:
    # Softmax of (0, ln 3) is (1/4, 3/4): -ln 1/4 = 1.3862944, -ln 3/4 = 0.2876821.
    logits = torch.tensor([[0.0, 1.0986123], [0.0, 1.0986123]])
    assert causal_lm_loss(logits, torch.tensor([0, 1])).item() == pytest.approx((1.3862944 + 0.2876821) / 2, abs=1e-6)
    assert causal_lm_loss(logits, torch.tensor([0, 1]), 4).item() == pytest.approx(
        (1.3862944 + 0.2876821) / 4, abs=1e-6
    )


def test_nothing_labelled() -> None:
    logits = torch.randn(3, 5, 6, requires_grad=True)
    labels = torch.full((3, 5), -100)
    for num_items in (None, 0, torch.tensor(0)):
        loss = causal_lm_loss(logits[predicting_positions(labels)], shifted_targets(labels), num_items)
        (grad,) = torch.autograd.grad(loss, logits)
        assert loss.item() == 0.0 and (grad == 0).all()


def test_bfloat16_logits_are_summed_in_float32() -> None:
    logits = torch.zeros(1000, 4, dtype=torch.bfloat16)
    loss = causal_lm_loss(logits, torch.zeros(1000, dtype=torch.int64), 1)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(1000 * 1.3862944, rel=1e-5)
