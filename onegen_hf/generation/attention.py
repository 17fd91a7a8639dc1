"""
Attention for one forward over the tokens of many rows, packed without padding: the hook that transformers offers to
serving engines ([`~transformers.AttentionInterface`]).

All that a decoder does token by token (projections, feed-forward layers, norms, experts) then sees real tokens only,
whatever mixture of prompts, passages and single tokens the rows add; attention alone is told which keys are whose.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from ..modeling.forward_lock import lock_of
from .cache import part_of, rows_apart

NAME = "onegen_packed"
IMPLEMENTATIONS = ("sdpa", "eager")
"""What the model may use itself: packed attention calls it for each group of rows."""


@dataclass
class RowGroup:
    """
    Neighbouring slots of the cache that add equally many tokens: their keys are a view, and one call attends for all.

    Args:
        first (`int`): Their first slot.
        starts (`list[int]`): Tokens that each of them holds already.
        size (`int`): Tokens that each of them adds.
    """

    first: int
    starts: list[int]
    size: int
    masks: dict[Any, Tensor | None] = field(default_factory=dict)

    @cached_property
    def visible(self) -> int:
        """Positions that the longest of them holds after this forward."""
        return max(self.starts) + self.size

    def of(self, states: Tensor) -> Tensor:
        """Their keys or values, out of all of shape `(slots, heads, capacity, head_dim)`."""
        return part_of(states, self.first, len(self.starts), 0, self.visible)

    def mask(self, window: int | None, additive: torch.dtype | None, device: torch.device) -> Tensor | None:
        """
        Which keys each token sees, made once per forward and kind of layer.

        Args:
            window (`int`, *optional*): Of sliding-window layers.
            additive (`torch.dtype`, *optional*): For a mask to add to the scores; a bool one by default.
            device (`torch.device`)

        Returns:
            `Tensor` of shape `(rows, 1, size, visible)`, or `None` where attention needs none: causal from the first
            position on, or a single token that sees all.
        """
        key = (window, additive, device)
        if key not in self.masks:
            self.masks[key] = self._mask(window, additive, device)
        return self.masks[key]

    def _mask(self, window: int | None, additive: torch.dtype | None, device: torch.device) -> Tensor | None:
        seen_by_window = window is None or self.visible <= window
        everything = self.size == 1 and len(set(self.starts)) == 1
        if additive is None and seen_by_window and (everything or not any(self.starts)):
            return None
        columns = torch.arange(self.visible, device=device)
        positions = torch.tensor(self.starts, device=device).unsqueeze(1) + columns[: self.size]
        allowed = columns <= positions.unsqueeze(2)
        if not seen_by_window:
            assert window is not None
            allowed &= columns > positions.unsqueeze(2) - window
        allowed = allowed.unsqueeze(1)
        if additive is None:
            return allowed
        return torch.zeros(allowed.shape, dtype=additive, device=device).masked_fill(
            ~allowed, torch.finfo(additive).min
        )


def groups_of(slots: Sequence[int], starts: Sequence[int], sizes: Sequence[int]) -> list[RowGroup]:
    """
    Group rows given in ascending order of their slots.

    Args:
        slots (`Sequence[int]`): Of the rows that take part.
        starts (`Sequence[int]`): Tokens that they hold already.
        sizes (`Sequence[int]`): Tokens that they add.
    """
    groups: list[RowGroup] = []
    for slot, start, size in zip(slots, starts, sizes, strict=True):
        last = groups[-1] if groups else None
        if last is not None and last.size == size and last.first + len(last.starts) == slot:
            last.starts.append(start)
        else:
            groups.append(RowGroup(slot, [start], size))
    return groups


@dataclass(frozen=True)
class _Packed:
    groups: list[RowGroup]
    implementation: str


_current: ContextVar[_Packed] = ContextVar("packed rows of the running forward")


@contextmanager
def packed_attention(model: Any, groups: list[RowGroup]) -> Iterator[None]:
    """
    Within, a forward of `model` takes the tokens of `groups` one after the other, as a single row. Several threads may
    decode with one model, each with a tokenizer of its own; their forwards take turns.
    """
    config = model.config.get_text_config()
    with lock_of(model).alone():  # the configuration says to all threads that this forward is packed
        implementation = config._attn_implementation
        token = _current.set(_Packed(groups, implementation))
        config._attn_implementation = NAME
        try:
            yield
        finally:
            config._attn_implementation = implementation
            _current.reset(token)


def can_be_packed(model: Any) -> bool:
    """Whether packed attention may take the place of the model's own."""
    with lock_of(model).shared():  # while another thread holds it alone, the configuration names its packed forward
        known = model.config.get_text_config()._attn_implementation in IMPLEMENTATIONS
    return known and bool(getattr(model, "_supports_attention_backend", False))


def packed_attention_forward(
    module: torch.nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any, **kwargs: Any
) -> tuple[Tensor, None]:
    """
    Attend within each row of a packed forward.

    Args:
        module (`torch.nn.Module`): The attention layer.
        query (`Tensor`): Of shape `(1, heads, tokens, head_dim)`, or `(rows, heads, 1, head_dim)` where neighbouring
            rows add a token each: most steps, which need no reordering then.
        key, value (`Tensor` of shape `(slots, key_value_heads, capacity, head_dim)`): All that the cache holds.
        attention_mask: None; each group of rows has its own.
        kwargs: As the layer gives them, `sliding_window` among them.

    Returns:
        `tuple[Tensor, None]`: Of shape `(1, tokens, heads, head_dim)` or `(rows, 1, heads, head_dim)`, and no weights.
    """
    packed = _current.get()
    attend = _implementation(module, packed.implementation)
    additive = query.dtype if packed.implementation == "eager" else None
    group = packed.groups[0]
    if len(packed.groups) == 1 and len(group.starts) == query.shape[0]:
        mask = group.mask(kwargs.get("sliding_window"), additive, query.device)
        return attend(module, query, group.of(key), group.of(value), mask, **kwargs)[0], None
    parts, start = [], 0
    for group in packed.groups:
        rows = len(group.starts)
        tokens = rows * group.size
        own = query if tokens == query.shape[2] else query.narrow(2, start, tokens)
        mask = group.mask(kwargs.get("sliding_window"), additive, query.device)
        states = attend(module, rows_apart(own, rows), group.of(key), group.of(value), mask, **kwargs)[0]
        parts.append(states.reshape(1, tokens, *states.shape[2:]))
        start += tokens
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1), None


def _implementation(module: torch.nn.Module, name: str) -> Callable[..., Any]:
    # Eager attention is a function of each model's own file, not of the registry.
    own = getattr(sys.modules[type(module).__module__], "eager_attention_forward", None)
    return ALL_ATTENTION_FUNCTIONS.get_interface(name, own)


AttentionInterface.register(NAME, packed_attention_forward)
