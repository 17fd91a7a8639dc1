"""Attention over rows of any lengths in one kernel, by torch's flash attention for variable lengths."""

from __future__ import annotations

import inspect
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

LARGEST_HEAD = 256
"""Numbers per head that the kernel takes at most."""


@lru_cache
def kernel() -> tuple[Any, frozenset[str]] | None:
    """`varlen_attn` with the names of its arguments, which differ between versions of torch; `None` before 2.10."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    return varlen_attn, frozenset(inspect.signature(varlen_attn).parameters)


def takes_variable_lengths(device: torch.device, dtype: torch.dtype, head_dim: int) -> bool:
    """
    Whether the kernel can run.

    Args:
        device (`torch.device`): Of queries, keys and values: a GPU of compute capability 8.0 (Ampere) or newer.
        dtype (`torch.dtype`): That they are computed in: float16 or bfloat16.
        head_dim (`int`): Of an attention head, a multiple of 8.
    """
    return (
        device.type == "cuda"
        and torch.version.hip is None
        and kernel() is not None
        and dtype in (torch.float16, torch.bfloat16)
        and head_dim % 8 == 0
        and head_dim <= LARGEST_HEAD
        and torch.cuda.get_device_capability(device) >= (8, 0)
    )


def computed_dtype(dtype: torch.dtype, device: torch.device) -> torch.dtype:
    """The dtype of products of tensors of `dtype` on `device`: that of autocast where it is on."""
    if dtype == torch.float32 and torch.is_autocast_enabled(device.type):
        return torch.get_autocast_dtype(device.type)
    return dtype


def boundaries(lengths: list[int], device: torch.device) -> Tensor:
    """Where rows begin and end among their tokens: `Tensor` of shape `(rows + 1,)`, int32."""
    ends = torch.tensor([0, *lengths], dtype=torch.int32).cumsum(0, dtype=torch.int32)
    return ends.to(device, non_blocking=True)


def variable_length_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    starts: Tensor,
    longest: int,
    window: int | None = None,
    scaling: float | None = None,
) -> Tensor:
    """
    Causal attention within each of several rows.

    Args:
        query (`Tensor`): Of shape `(1, heads, tokens, head_dim)`, the rows one after the other.
        key, value (`Tensor`): Of shape `(1, key_heads, tokens, head_dim)`.
        starts (`Tensor`): See [`boundaries`].
        longest (`int`): Tokens of the longest row.
        window (`int`, *optional*): Tokens that a token sees, itself included; by default all before it.
        scaling (`float`, *optional*): Of the scores; `head_dim ** -0.5` by default.

    Returns:
        `Tensor` of shape `(1, tokens, heads, head_dim)`.
    """
    found = kernel()
    assert found is not None
    attend, parameters = found
    dtype = computed_dtype(query.dtype, query.device)
    # (tokens, heads, head_dim)
    query, key, value = (states[0].transpose(0, 1).to(dtype) for states in (query, key, value))
    options: dict[str, Any] = {"scale": scaling}
    if key.shape[1] != query.shape[1]:
        if "enable_gqa" in parameters:
            options["enable_gqa"] = True
        else:
            key, value = (s.repeat_interleave(query.shape[1] // s.shape[1], dim=1) for s in (key, value))
    if "window_size" in parameters:
        options["window_size"] = (-1, 0) if window is None or window >= longest else (window - 1, 0)
    else:
        options["is_causal"] = True
    options = {name: option for name, option in options.items() if name in parameters}
    if "scale" not in parameters and scaling is not None:
        query = query * (scaling * query.shape[-1] ** 0.5)
    states = attend(query, key, value, starts, starts, longest, longest, **options)
    return states.unsqueeze(0)
