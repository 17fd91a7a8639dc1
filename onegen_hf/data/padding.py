"""Padding: rows of different lengths become one tensor."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

PADDING = -1
"""Stands in a row of positions for "no retrieval token"."""


def pad_rows(
    rows: Sequence[Sequence[int]], padding: int, left: bool = False, multiple_of: int | None = None
) -> Tensor:
    """
    Make one tensor of rows of different lengths.

    Args:
        rows (`Sequence[Sequence[int]]`): At least one.
        padding (`int`): Fills the rows up.
        left (`bool`, *optional*, defaults to `False`): Whether padding goes in front, as generation wants it.
        multiple_of (`int`, *optional*): Round the width up to a multiple of this.

    Returns:
        `Tensor` of shape `(rows, longest row)`, int64.
    """
    width = max(map(len, rows))
    if multiple_of:
        width = -(-width // multiple_of) * multiple_of
    fill = ([padding] * (width - len(row)) for row in rows)
    padded = [[*f, *row] if left else [*row, *f] for row, f in zip(rows, fill, strict=True)]
    return torch.tensor(padded, dtype=torch.int64)


def pad_ids(
    rows: Sequence[Sequence[int]], pad_token_id: int | None, left: bool = False, multiple_of: int | None = None
) -> tuple[Tensor, Tensor]:
    """
    Make a batch of rows of token ids; the arguments are those of [`pad_rows`].

    Returns:
        `tuple[Tensor, Tensor]`: Ids and attention mask, both int64 of shape `(rows, longest row)`. A padding token of
        `None` is 0: any id will do, as it is masked.
    """
    ids = pad_rows(rows, pad_token_id or 0, left, multiple_of)
    return ids, pad_rows([[1] * len(row) for row in rows], 0, left, multiple_of)


def pad_positions(rows: Sequence[Sequence[int]]) -> Tensor:
    """
    Rows of positions → `Tensor` of shape `(batch, longest row)`, int64, padded with [`PADDING`]; at least one column.
    """
    return pad_rows([*rows, [PADDING]], PADDING)[:-1]
