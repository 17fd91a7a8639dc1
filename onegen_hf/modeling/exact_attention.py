"""
Attention on a CPU whose results do not depend, to the last bit, on how many tokens attend at a time.

Layers of integers turn a last bit into a step of rounding. Torch's kernel multiplies blocks of queries with blocks of
keys; which of the library's products it takes, and in what order they sum, follows from the sizes of the blocks.
With padding, only sizes occur that sum alike. Which sizes these are depends on the processor and is not documented:
[`uneven_sizes`] tries it out.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor
from torch.nn.functional import pad, scaled_dot_product_attention

QUERIES = 4
"""Queries are padded to a multiple: products of fewer rows are those of vectors."""
KEYS = 16
"""Keys are padded to a multiple: at the end of a row that fills no vector, other exponentials are computed."""
TOGETHER = 64
"""Queries that attend at a time, a multiple of [`QUERIES`]: measured, fewer gain little more."""
BLOCK = 512
"""Keys that the kernel takes at a time. The last block of a row is shorter."""
UNEVEN = (range(193, 384), range(257, 512))
"""
Sizes of a block whose sum over its keys is computed in another way than that of the next larger one, to which it is
padded: with AVX2, and with AVX-512.
"""
TRIED = (
    (0, 600), (0, 30), (5, 1), (17, 3), (90, 6), (150, 33), (188, 9), (190, 65), (255, 4), (260, 40), (290, 2),
    (350, 33), (380, 70), (440, 20), (505, 20), (560, 37),
)  # fmt: skip
"""First position and number of the tokens that attend together in the trial."""


def padded_queries(size: int) -> int:
    """Number of queries that `size` queries are padded to."""
    return -(-size // QUERIES) * QUERIES


def padded_keys(visible: int, uneven: range) -> int:
    """Number of keys that `visible` keys are padded to, where blocks of these sizes do not sum as others do."""
    padded = -(-visible // KEYS) * KEYS
    last = padded % BLOCK
    return padded + uneven.stop - last if last in uneven else padded


def exact_attention(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scaling: float | None, visible: int, uneven: range
) -> Tensor:
    """
    Attention over padded keys; queries are padded here. A few queries attend at a time, to the keys that the last of
    them may see: for a prompt, nearly half of all products are spared.

    Args:
        query (`Tensor` of shape `(rows, heads, size, head_dim)`): float32. Of neighbouring positions.
        key, value (`Tensor` of shape `(rows, key_heads, visible, head_dim)`): Up to [`padded_keys`] where the storage
            holds as many; finite also where no token sees them.
        mask (`Tensor` of shape `(rows, 1, padded_queries(size), padded_keys(visible, uneven))`): Added to the scores.
        scaling (`float`, *optional*)
        visible (`int`): Positions that any row's last query may see.
        uneven (`range`): See [`uneven_sizes`].

    Returns:
        `Tensor` of shape `(rows, size, heads, head_dim)`.
    """
    size = query.shape[2]
    parts = []
    for start in range(0, size, TOGETHER):
        end = min(start + TOGETHER, size)
        seen = padded_keys(visible - size + end, uneven)
        queries = _lengthened(query[:, :, start:end], padded_queries(end - start))
        keys, values = (_lengthened(states[:, :, :seen], seen) for states in (key, value))
        added = mask[:, :, start : start + queries.shape[2], :seen]
        states = scaled_dot_product_attention(queries, keys, values, attn_mask=added, scale=scaling, enable_gqa=True)
        parts.append(states[:, :, : end - start].transpose(1, 2))
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


def _lengthened(states: Tensor, length: int) -> Tensor:
    missing = length - states.shape[2]
    return pad(states, (0, 0, 0, missing)) if missing > 0 else states


@functools.cache
@torch.no_grad()
def uneven_sizes(head_dim: int) -> range | None:
    """
    The sizes in [`UNEVEN`] with which [`exact_attention`] keeps its promise with this processor and these libraries;
    `None` if none do. Tried once.
    """
    return next((uneven for uneven in UNEVEN if _sums_alike(head_dim, uneven)), None)


def _sums_alike(head_dim: int, uneven: range) -> bool:
    generator = torch.Generator().manual_seed(0)
    longest = max(start + size for start, size in TRIED)
    query, key, value = (
        torch.randn(1, heads, padded_keys(longest, uneven), head_dim, generator=generator) for heads in (2, 1, 1)
    )

    def attend(start: int, size: int, visible: int) -> Tensor:
        positions = (start + torch.arange(padded_queries(size))).clamp(max=start + size - 1)
        hidden = torch.arange(padded_keys(visible, uneven)) > positions.unsqueeze(1)
        mask = torch.zeros(hidden.shape).masked_fill(hidden, torch.finfo(torch.float32).min)[None, None]
        keys, values = (states[:, :, : mask.shape[3]] for states in (key, value))
        return exact_attention(query[:, :, start : start + size], keys, values, mask, None, visible, uneven)

    expected = attend(*TRIED[0], longest)
    return all(
        torch.equal(attend(start, size, visible), expected[:, start : start + size])
        for start, size in TRIED
        for visible in {start + size, (start + size + longest) // 2}
        if start + size <= expected.shape[1]
    )
