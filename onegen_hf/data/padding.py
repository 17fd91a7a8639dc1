"""Padding: rows of different lengths become one tensor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

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


def pad_rows(
    rows: Sequence[Sequence[int]], pad_token_id: int, side: Literal["left", "right"] = "right"
) -> tuple[Tensor, Tensor]:
    """
    Rows of token ids as a batch.

    Args:
        rows (`Sequence[Sequence[int]]`): At least one.
        pad_token_id (`int`): Any token will do, as padding is masked.
        side (`str`, *optional*, defaults to `"right"`): `"left"` as generation wants it.

    Returns:
        `tuple[Tensor, Tensor]`: Ids and attention mask, both int64 of shape `(rows, longest)`.
    """
    width = max(map(len, rows))
    ids, mask = [], []
    for row in rows:
        padding, zeros = [pad_token_id] * (width - len(row)), [0] * (width - len(row))
        ids.append([*padding, *row] if side == "left" else [*row, *padding])
        mask.append([*zeros, *[1] * len(row)] if side == "left" else [*[1] * len(row), *zeros])
    return torch.tensor(ids, dtype=torch.int64), torch.tensor(mask, dtype=torch.int64)
