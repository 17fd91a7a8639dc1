"""Attention in blocks of fixed places, whose bits do not depend on how many tokens a row adds at a time."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import pad

BLOCK = 16
"""
Positions of a block. Larger ones waste more where a row adds few tokens, smaller ones compute long prompts more slowly.
"""


def aligned_attention(
    attend: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor],
    query: Tensor,
    key: Tensor,
    value: Tensor,
    start: int,
    mask: Callable[[int], Tensor],
) -> Tensor:
    """
    Attention of the tokens that a row adds, as part of blocks that begin at multiples of [`BLOCK`].

    Kernels compute sums in an order that depends on how many queries and keys they are given. Here these depend on a
    token's position alone: every block is a call with as many queries as a block has, and with the keys up to its end.
    Where a row adds a part of a block only, zeros stand for the other queries. A row that is read in any pieces
    therefore gets the same bits, and keys behind a block are not looked at, which saves half of a long prompt's
    attention.

    Args:
        attend (`Callable`): From queries, keys, values and a mask to states of shape `(1, BLOCK, heads, head_dim)`.
        query (`Tensor` of shape `(1, heads, size, head_dim)`)
        key, value (`Tensor` of shape `(1, key_heads, capacity, head_dim)`): Finite also behind the row's end, where a
            capacity that is a multiple of [`BLOCK`] leaves room for the whole last block.
        start (`int`): Position of the first query.
        mask (`Callable[[int], Tensor]`): From the number of a block, counted from position 0, to its mask of shape
            `(1, 1, BLOCK, visible)`; see [`block_positions`].

    Returns:
        `Tensor` of shape `(1, size, heads, head_dim)`.
    """
    size = query.shape[2]
    before = start % BLOCK
    padded = pad(query, (0, 0, before, -(before + size) % BLOCK))
    states = [
        attend(queries, *(part.narrow(2, 0, (number + 1) * BLOCK) for part in (key, value)), mask(number))
        for number, queries in enumerate(padded.split(BLOCK, dim=2), start // BLOCK)
    ]
    return torch.cat(states, dim=1).narrow(1, before, size)


def block_positions(number: int, device: torch.device) -> Tensor:
    """The positions of a block, of shape `(1, BLOCK)`."""
    return torch.arange(number * BLOCK, (number + 1) * BLOCK, device=device).unsqueeze(0)
