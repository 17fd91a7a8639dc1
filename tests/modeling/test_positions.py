"""Reading hidden states at positions."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from onegen_hf.data.padding import pad_positions
from onegen_hf.modeling.positions import gather_hidden

HIDDEN = torch.arange(24, dtype=torch.float32).view(2, 4, 3)  # hidden[b, t] = 12 b + 3 t + (0, 1, 2)


def test_pad_positions() -> None:
    assert pad_positions([[1, 5], [], [2]]).tolist() == [[1, 5], [-1, -1], [2, -1]]
    assert pad_positions([[], []]).tolist() == [[-1], [-1]]
    assert pad_positions([[], []]).dtype == torch.int64


def test_two_dimensional() -> None:
    found = gather_hidden(HIDDEN, torch.tensor([[3, 0], [1, -1]]))
    assert found.tolist() == [[[9, 10, 11], [0, 1, 2]], [[15, 16, 17], [0, 0, 0]]]


def test_one_dimensional() -> None:
    assert gather_hidden(HIDDEN, torch.tensor([2, -1])).tolist() == [[6, 7, 8], [0, 0, 0]]


def test_mask() -> None:
    mask = torch.tensor([[False, True, False, True], [True, False, False, False]])
    assert gather_hidden(HIDDEN, mask).tolist() == [[3, 4, 5], [9, 10, 11], [12, 13, 14]]
    assert gather_hidden(HIDDEN, torch.zeros(2, 4, dtype=torch.bool)).shape == (0, 3)


def test_no_columns() -> None:
    assert gather_hidden(HIDDEN, torch.empty(2, 0, dtype=torch.int64)).shape == (2, 0, 3)


def test_int32_positions() -> None:
    assert gather_hidden(HIDDEN, torch.tensor([2, 0], dtype=torch.int32)).tolist() == [[6, 7, 8], [12, 13, 14]]


def test_gradient_reaches_only_what_was_read() -> None:
    hidden = HIDDEN.clone().requires_grad_()
    gather_hidden(hidden, torch.tensor([[3, 3], [1, -1]])).sum().backward()
    assert hidden.grad is not None
    assert hidden.grad[:, :, 0].tolist() == [[0, 0, 0, 2], [0, 1, 0, 0]]


@pytest.mark.parametrize(
    ("positions", "message"),
    [
        (torch.tensor([[4], [0]]), "position 4 lies outside the sequence of 4 tokens. Was the row truncated"),
        (torch.tensor([0, 9]), "position 9 lies outside"),
        (torch.tensor([[0]]), r"has shape \(1, 1\), expected \(2, n\): one row of positions for each row"),
        (torch.zeros(2, 1, 1, dtype=torch.int64), r"has shape \(2, 1, 1\), expected \(2, n\)"),
        (torch.zeros(2, 3, dtype=torch.bool), r"a mask must have the shape of input_ids \(2, 4\), got \(2, 3\)"),
    ],
)
def test_bad_positions(positions: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        gather_hidden(HIDDEN, positions)
