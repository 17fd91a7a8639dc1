"""Attention in blocks of fixed places: the same states as without blocks, and the same bits in all pieces."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from onegen_hf.modeling.aligned_attention import BLOCK, aligned_attention, block_positions
from onegen_hf.modeling.causal_mask import causal_mask

CAPACITY = 8 * BLOCK


def _attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    return scaled_dot_product_attention(query, key, value, attn_mask=mask, enable_gqa=True).transpose(1, 2)


def _states(tokens: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    query = torch.randn(1, 6, tokens, 8, generator=generator)
    key, value = (torch.randn(1, 2, CAPACITY, 8, generator=generator) for _ in range(2))
    return query, key, value


def _blocks(query: Tensor, key: Tensor, value: Tensor, start: int, window: int | None) -> Tensor:
    def mask(number: int) -> Tensor:
        return causal_mask(block_positions(number, query.device), (number + 1) * BLOCK, window, query.dtype)

    return aligned_attention(_attend, query, key, value, start, mask)


@pytest.mark.parametrize("window", [None, 5, 2 * BLOCK])
@pytest.mark.parametrize(("start", "size"), [(0, 1), (0, CAPACITY), (BLOCK, BLOCK), (BLOCK - 1, 2), (37, 50)])
def test_it_is_attention(start: int, size: int, window: int | None) -> None:
    query, key, value = _states(size)
    seen = start + size
    positions = torch.arange(start, seen).unsqueeze(0)
    expected = _attend(query, key[:, :, :seen], value[:, :, :seen], causal_mask(positions, seen, window, query.dtype))
    assert torch.allclose(_blocks(query, key, value, start, window), expected, atol=1e-6)


@pytest.mark.parametrize("sizes", [[1] * 100, [33, 67], [16, 16, 68], [5, 90, 5]])
def test_bits_are_the_same_in_all_pieces(sizes: list[int]) -> None:
    query, key, value = _states(100)
    pieces: list[Any] = []
    for size in sizes:
        begin = sum(piece.shape[1] for piece in pieces)
        later = key.clone()
        later[:, :, 20 + begin + size :] = 7.0  # what was read there before
        pieces.append(_blocks(query[:, :, begin : begin + size], later, value, 20 + begin, None))
    assert torch.equal(torch.cat(pieces, dim=1), _blocks(query, key, value, 20, None))
