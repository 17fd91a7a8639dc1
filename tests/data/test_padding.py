"""Rows of different lengths as one tensor."""

from __future__ import annotations

import torch

from onegen_hf.data.padding import pad_ids, pad_positions, pad_rows


def test_pad_rows() -> None:
    assert pad_rows([[1, 2, 3], [4]], -100).tolist() == [[1, 2, 3], [4, -100, -100]]
    assert pad_rows([[1, 2, 3], [4]], 0, left=True).tolist() == [[1, 2, 3], [0, 0, 4]]
    assert pad_rows([[1, 2, 3]], 9, multiple_of=4).tolist() == [[1, 2, 3, 9]]
    assert pad_rows([[1, 2, 3, 4]], 9, multiple_of=4).tolist() == [[1, 2, 3, 4]]
    assert pad_rows([[], []], 9).shape == (2, 0)


def test_pad_ids() -> None:
    ids, mask = pad_ids([[5, 0], [7]], 2, left=True, multiple_of=3)
    assert ids.tolist() == [[2, 5, 0], [2, 2, 7]] and mask.tolist() == [[0, 1, 1], [0, 0, 1]]
    assert ids.dtype == mask.dtype == torch.int64
    assert pad_ids([[5, 6], [7]], None)[0].tolist() == [[5, 6], [7, 0]]


def test_positions_have_a_column_at_least() -> None:
    assert pad_positions([[], []]).tolist() == [[-1], [-1]]
    assert pad_positions([[3], [1, 2]]).tolist() == [[3, -1], [1, 2]]
