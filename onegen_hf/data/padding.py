"""Padding: rows of different lengths become one tensor."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

PADDING = -1
"""Stands in a row of positions for "no retrieval token"."""


def pad_positions(rows: Sequence[Sequence[int]]) -> Tensor:
    """
    Rows of positions → `Tensor` of shape `(batch, longest row)`, int64, padded with [`PADDING`]; at least one column.
    """
    width = max([len(row) for row in rows] + [1])
    return torch.tensor([[*row, *[PADDING] * (width - len(row))] for row in rows], dtype=torch.int64)
