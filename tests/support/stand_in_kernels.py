"""Slow functions with the contracts of kernels that need a GPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, modeling_flash_attention_utils
from transformers.integrations.flash_attention import flash_attention_forward

from onegen_hf.modeling.fused_loss import plain_kernel


def plain_cross_entropy(softcap: float | None) -> Any:
    """As `liger_kernel` of `onegen_hf.modeling.fused_loss`, with checks of what it is called with."""
    plain = plain_kernel(softcap)

    def kernel(weight: Tensor, states: Tensor, targets: Tensor, bias: Tensor | None) -> Tensor:
        assert states.shape == (targets.numel(), weight.shape[1]) and targets.dtype == torch.int64
        return plain(weight, states, targets, bias)

    return kernel


class FlashAttention:
    """
    The functions of the package `flash_attn` (2.1 and newer) for CPUs and any dtype, which count their calls.

    Queries stand at the end of the keys of their row; a window counts the tokens to the left of each query's own.
    """

    def __init__(self) -> None:
        self.calls: list[str] = []

    def flash_attn_func(
        self, q: Tensor, k: Tensor, v: Tensor, dropout_p: float = 0.0, softmax_scale: float | None = None,
        causal: bool = False, window_size: tuple[int, int] = (-1, -1), softcap: float = 0.0,
    ) -> Tensor:  # fmt: skip
        """Of shape `(rows, tokens, heads, head_dim)`, each row as long as the others."""
        self.calls.append("rows of one length")
        return torch.stack(
            [_attend(*row, softmax_scale, causal, window_size[0], softcap) for row in zip(q, k, v, strict=True)]
        )

    def flash_attn_varlen_func(
        self, q: Tensor, k: Tensor, v: Tensor, cu_seqlens_q: Tensor, cu_seqlens_k: Tensor, max_seqlen_q: int,
        max_seqlen_k: int, dropout_p: float = 0.0, softmax_scale: float | None = None, causal: bool = False,
        window_size: tuple[int, int] = (-1, -1), softcap: float = 0.0,
    ) -> Tensor:  # fmt: skip
        """Of shape `(tokens, heads, head_dim)`, row after row."""
        self.calls.append("rows of any lengths")
        sizes, held = cu_seqlens_q.diff().tolist(), cu_seqlens_k.diff().tolist()
        assert cu_seqlens_q.dtype == cu_seqlens_k.dtype == torch.int32
        assert (sum(sizes), sum(held)) == (len(q), len(k)) and (max(sizes), max(held)) == (max_seqlen_q, max_seqlen_k)
        rows = zip(q.split(sizes), k.split(held), v.split(held), strict=True)
        return torch.cat([_attend(*row, softmax_scale, causal, window_size[0], softcap) for row in rows])

    def install(self, monkeypatch: Any) -> None:
        """Let transformers find them under every name of flash attention."""
        functions = (self.flash_attn_func, self.flash_attn_varlen_func, None, None, None)
        monkeypatch.setattr(modeling_flash_attention_utils, "_lazy_imports", lambda *args, **kwargs: functions)
        monkeypatch.setattr(modeling_flash_attention_utils, "_loaded_implementation", None)
        # transformers registers a kernel of the Hub under its name when it loads it.
        kernel = "kernels-community/flash-attn2"
        monkeypatch.setitem(AttentionInterface._global_mapping, kernel, flash_attention_forward)


def _attend(q: Tensor, k: Tensor, v: Tensor, scale: float | None, causal: bool, left: int, softcap: float) -> Tensor:
    """`(tokens, heads, head_dim)` and `(keys, key_heads, head_dim)` → `(tokens, heads, head_dim)`."""
    k, v = (states.repeat_interleave(q.shape[1] // states.shape[1], dim=1) for states in (k, v))
    scores = torch.einsum("qhd,khd->hqk", q, k) * (scale or q.shape[-1] ** -0.5)
    if softcap:
        scores = softcap * torch.tanh(scores / softcap)
    distance = torch.arange(len(q))[:, None] + len(k) - len(q) - torch.arange(len(k))
    seen = (distance >= 0) if causal else torch.ones_like(distance, dtype=torch.bool)
    if left >= 0:
        seen &= distance <= left
    return torch.einsum("hqk,khd->qhd", scores.masked_fill(~seen, -torch.inf).softmax(-1), v)
