"""Packed rows for flash attention 2 and 3: one call for all of them, with the boundaries of their queries and keys."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .variable_length import boundaries


def is_flash(implementation: str | None) -> bool:
    """Whether a name of transformers stands for flash attention: `"flash_attention_2"`, or a kernel from the Hub."""
    return "flash" in str(implementation)


class FlashRows:
    """
    Where rows begin and end among the packed tokens, and which positions of a cache hold their keys.

    Args:
        slots (`Sequence[int]`): Of the rows, in the order of their tokens.
        starts (`Sequence[int]`): Tokens that each of them holds already.
        sizes (`Sequence[int]`): Tokens that each of them adds.
        cached (`bool`): Whether keys are those of a cache, or those of the packed tokens.
        device (`torch.device`)
    """

    def __init__(
        self, slots: Sequence[int], starts: Sequence[int], sizes: Sequence[int], cached: bool, device: torch.device
    ) -> None:
        held = [start + size for start, size in zip(starts, sizes, strict=True)] if cached else list(sizes)
        ends = boundaries(list(sizes), device)
        self.options: dict[str, Any] = {
            "cu_seq_lens_q": ends,
            "cu_seq_lens_k": boundaries(held, device) if cached else ends,
            "max_length_q": max(sizes),
            "max_length_k": max(held),
        }
        """The arguments by which transformers' flash attention is told about packed rows (`FlashAttentionKwargs`)."""
        self.places: tuple[Tensor, Tensor] | None = None
        """Slot and position of every key in the cache, both of shape `(keys,)`."""
        if cached:
            counts = torch.tensor(held)
            first = (counts.cumsum(0) - counts).repeat_interleave(counts)
            of_keys = torch.tensor(list(slots)).repeat_interleave(counts)
            slot, position = torch.stack([of_keys, torch.arange(sum(held)) - first]).to(device, non_blocking=True)
            self.places = slot, position

    def attend(
        self, attend: Callable[..., Any], layer: nn.Module, query: Tensor, key: Tensor, value: Tensor, **kwargs: Any
    ) -> Tensor:
        """
        Causal attention of each row.

        Args:
            attend (`Callable`): transformers' flash attention.
            layer (`nn.Module`)
            query (`Tensor`): Of shape `(1, heads, tokens, head_dim)`, or `(rows, heads, 1, head_dim)`.
            key, value (`Tensor`): Of shape `(slots, key_heads, capacity, head_dim)` of a cache, otherwise
                `(1, key_heads, tokens, head_dim)`.
            kwargs: As the layer gives them.

        Returns:
            `Tensor` of shape `(1, tokens, heads, head_dim)` or `(rows, 1, heads, head_dim)`.
        """
        single = query.shape[0] > 1
        if single:
            query = query.transpose(0, 2)  # (1, heads, rows, head_dim)
        if self.places is not None:
            key, value = (self._held(storage) for storage in (key, value))
        # A query sees the keys up to its own, counted from the end of its row.
        states = attend(PlainLayer(layer), query, key, value, None, **{**kwargs, **self.options})[0]
        return states.transpose(0, 1) if single else states

    def _held(self, storage: Tensor) -> Tensor:
        """`(slots, heads, capacity, head_dim)` → `(1, heads, keys, head_dim)`, in the order of the rows."""
        assert self.places is not None
        slots, positions = self.places
        return storage[slots, :, positions].transpose(0, 1).unsqueeze(0)


class PlainLayer:
    """
    An attention layer with the configuration of its model, by which flash attention chooses its kernel.

    Args:
        layer (`nn.Module`): Its configuration is a [`LayerConfig`].
    """

    def __init__(self, layer: nn.Module) -> None:
        self.layer, self.config = layer, layer.config.plain  # type: ignore[union-attr]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.layer, name)
