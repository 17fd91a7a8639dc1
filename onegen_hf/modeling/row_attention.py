"""
Attention for one forward over the tokens of many rows, packed without padding.

All that a decoder does token by token (projections, feed-forward layers, norms, experts) then sees real tokens only,
whatever mixture of prompts, passages and single tokens the rows add. What keeps the rows apart travels with the call,
as its attention mask: neither the model nor its configuration changes while it runs, so any number of threads may
share it, and layers that gradient checkpointing runs again see the same rows.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from .causal_mask import causal_mask
from .exact_attention import exact_attention, padded_keys, padded_queries, uneven_sizes
from .flash_rows import FlashRows, PlainLayer, is_flash
from .padded_rows import FEW_GROUPS, PaddedRows
from .variable_length import boundaries, computed_dtype, takes_variable_lengths, variable_length_attention

NAME = "onegen_rows"
NAME_OF_FLASH = "onegen_rows_flash"
"""Layers whose heads have values of another size ask whether "flash" is in the name."""
EXACT = "attends_exactly"
"""
Attribute of attention layers whose results must not depend, in their last bits, on how many tokens attend at a time:
those between layers of integers, which turn a last bit into a step of rounding.
"""
IMPLEMENTATIONS = ("sdpa", "eager")
"""What row attention calls for each group of rows; flash attention takes all rows at once."""


def packs_with(implementation: str | None) -> bool:
    """Whether rows can be packed for a model with this attention."""
    return implementation in IMPLEMENTATIONS or is_flash(implementation)


@dataclass
class RowGroup:
    """
    Neighbouring rows that add equally many tokens, so that one call attends for all of them.

    Args:
        first (`int`): Their first slot in the cache.
        starts (`list[int]`): Tokens that each of them holds already.
        size (`int`): Tokens that each of them adds.
    """

    first: int
    starts: list[int]
    size: int
    masks: dict[Any, Tensor | None] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """How many they are."""
        return len(self.starts)

    @cached_property
    def visible(self) -> int:
        """Positions that the longest of them holds after this forward."""
        return max(self.starts) + self.size

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
        within_window = window is None or self.visible <= window
        sees_all = self.size == 1 and len(set(self.starts)) == 1
        if additive is None and within_window and (sees_all or not any(self.starts)):
            return None
        # (rows, size): the position of each new token
        positions = torch.tensor(self.starts, device=device).unsqueeze(1) + torch.arange(self.size, device=device)
        return causal_mask(positions, self.visible, None if within_window else window, additive)

    def padded_mask(self, window: int | None, dtype: torch.dtype, device: torch.device, uneven: range) -> Tensor:
        """
        The mask for [`exact_attention`], made once per forward and kind of layer; of shape
        `(rows, 1, padded size, padded visible)`.
        """
        key = ("padded", window, dtype, device, uneven)
        if key not in self.masks:
            offsets = torch.arange(padded_queries(self.size), device=device).clamp_(max=self.size - 1)
            positions = torch.tensor(self.starts, device=device).unsqueeze(1) + offsets
            self.masks[key] = causal_mask(positions, padded_keys(self.visible, uneven), window, dtype)
        mask = self.masks[key]
        assert mask is not None
        return mask


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
        if last is not None and last.size == size and last.first + last.rows == slot:
            last.starts.append(start)
        else:
            groups.append(RowGroup(slot, [start], size))
    return groups


class RowsMask(torch.Tensor):
    """
    Stands for the attention mask of packed rows, and is never filled in.

    Every decoder of transformers hands a mask of four axes on to its attention layers as it is.

    Attributes:
        groups (`list[RowGroup]`): The rows, in the order of their tokens.
        cached (`bool`): Whether keys and values are those of a cache, of shape `(slots, heads, capacity, head_dim)`,
            or those of the packed tokens themselves, of shape `(1, heads, tokens, head_dim)`.
        starts (`Tensor`, *optional*): Where rows begin, see [`boundaries`]; on a GPU, for rows without a cache.
        padded ([`PaddedRows`], *optional*): On a GPU, for rows of a cache that form many groups.
        flash (`dict[torch.device, FlashRows]`): Made by the first layer of a model with flash attention.
        exact (`bool`): Whether results must not depend on how many tokens attend at a time, see [`attend_exactly`].
    """

    groups: list[RowGroup]
    cached: bool
    starts: Tensor | None
    padded: PaddedRows | None
    flash: dict[torch.device, FlashRows]
    exact: bool

    @classmethod
    def of(cls, groups: list[RowGroup], cached: bool, device: torch.device, exact: bool = False) -> RowsMask:
        """Of shape `(1, 1, tokens, tokens)`, without memory of that size."""
        tokens = sum(group.rows * group.size for group in groups)
        mask = torch.ones((), dtype=torch.bool, device=device).expand(1, 1, tokens, tokens).as_subclass(cls)
        mask.groups, mask.cached, mask.starts, mask.padded, mask.flash = groups, cached, None, None, {}
        mask.exact = exact
        if not cached and device.type == "cuda":
            mask.starts = boundaries([group.size for group in groups for _ in group.starts], device)
        if cached and pads_rows(groups, device):
            mask.padded = padded_rows(groups, device)
        return mask

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = super().__torch_function__(func, types, args, dict(kwargs or {}))
        if isinstance(result, cls):
            source = next(argument for argument in args if isinstance(argument, cls))
            if result.shape != source.shape:
                raise NotImplementedError(
                    f"{getattr(func, '__name__', func)} is not defined for the mask of packed rows"
                )
            result.groups, result.cached, result.exact = source.groups, source.cached, source.exact
            result.starts, result.padded, result.flash = source.starts, source.padded, source.flash
        return result

    def flash_rows(self, device: torch.device) -> FlashRows:
        """The rows as flash attention takes them, made once per forward and device."""
        if device not in self.flash:
            self.flash[device] = FlashRows(*_rows_of(self.groups), self.cached, device)
        return self.flash[device]


def pads_rows(groups: Sequence[RowGroup], device: torch.device) -> bool:
    """Whether one padded call is faster than one for each group: where launching kernels is what takes time."""
    return device.type == "cuda" and len(groups) > FEW_GROUPS


def padded_rows(groups: Sequence[RowGroup], device: torch.device) -> PaddedRows:
    """The rows of several groups, to attend for all of them in one call."""
    return PaddedRows(*_rows_of(groups), device)


def _rows_of(groups: Sequence[RowGroup]) -> tuple[list[int], list[int], list[int]]:
    """Slots, starts and sizes of all rows."""
    slots = [group.first + row for group in groups for row in range(group.rows)]
    starts = [start for group in groups for start in group.starts]
    sizes = [group.size for group in groups for _ in group.starts]
    return slots, starts, sizes


def row_attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any, **kwargs: Any
) -> tuple[Tensor, Tensor | None]:
    """
    The model's own attention, and with a [`RowsMask`] the same for each group of rows.

    Args:
        module (`nn.Module`): The attention layer.
        query (`Tensor`): Of shape `(1, heads, tokens, head_dim)`, or `(rows, heads, 1, head_dim)` where neighbouring
            rows add a token each: most steps of decoding, which need no reordering then.
        key, value (`Tensor`): See [`RowsMask`].
        attention_mask ([`RowsMask`] or `Tensor`, *optional*)
        kwargs: As the layer gives them, `sliding_window` among them.

    Returns:
        `tuple`: States of shape `(1, tokens, heads, head_dim)` or `(rows, 1, heads, head_dim)`; the weights, where no
        rows are packed and the model's own attention returns them.
    """
    implementation: str = module.config.plain._attn_implementation  # type: ignore
    # Eager attention is a function of each model's own file, not of the registry.
    eager = getattr(sys.modules[type(module).__module__], "eager_attention_forward", None)
    attend = ALL_ATTENTION_FUNCTIONS.get_interface(implementation, eager)
    if not isinstance(attention_mask, RowsMask):
        layer = PlainLayer(module) if is_flash(implementation) else module
        return attend(layer, query, key, value, attention_mask, **kwargs)
    if is_flash(implementation):
        rows = attention_mask.flash_rows(query.device)
        return rows.attend(attend, module, query, key, value, **kwargs), None
    window = kwargs.get("sliding_window")
    if attention_mask.starts is not None and implementation == "sdpa" and not kwargs.get("dropout"):
        dtype = computed_dtype(query.dtype, query.device)
        if takes_variable_lengths(query.device, dtype, query.shape[-1]):
            longest = max(group.size for group in attention_mask.groups)
            return variable_length_attention(
                query, key, value, attention_mask.starts, longest, window, kwargs.get("scaling")
            ), None
    additive = query.dtype if implementation == "eager" else None
    padded = attention_mask.padded
    if padded is not None and padded.device == query.device:  # a model may be split over devices
        visible = padded.mask(window, additive)
        states = attend(module, padded.queries(query), padded.held(key), padded.held(value), visible, **kwargs)[0]
        return padded.packed(states), None
    exact = attention_mask.exact and query.device.type == "cpu" and getattr(module, EXACT, False)
    plain = implementation == "sdpa" and attention_mask.cached and is_plain(query, key, value, kwargs)
    shared_keys = plain and shares_keys(query, key)
    uneven = uneven_sizes(query.shape[-1]) if exact and plain and query.dtype == torch.float32 else None
    parts, start = [], 0
    for group in attention_mask.groups:
        tokens = group.rows * group.size
        if query.shape[0] > 1:
            queries = query if group.rows == query.shape[0] else query.narrow(0, start, group.rows)
        else:
            queries = rows_apart(query if tokens == query.shape[2] else query.narrow(2, start, tokens), group.rows)
        if attention_mask.cached:
            held = group.visible if uneven is None else min(padded_keys(group.visible, uneven), key.shape[2])
            keys, values = (part_of(s, group.first, group.rows, 0, held) for s in (key, value))
        else:
            keys, values = (rows_apart(s.narrow(2, start, tokens), group.rows) for s in (key, value))
        # (rows, size, heads, head_dim)
        if uneven is not None:
            padded_mask = group.padded_mask(window, query.dtype, query.device, uneven)
            states = exact_attention(queries, keys, values, padded_mask, kwargs.get("scaling"), group.visible, uneven)
        else:
            if exact:
                queries, keys, values = (states.double() for states in (queries, keys, values))
            mask = group.mask(window, additive, query.device)
            if shared_keys and mask is not None and group.size > 1:
                # Torch would turn a bool mask into this one again in every layer.
                mask = group.mask(window, queries.dtype, query.device)
                states = shared_key_attention(queries, keys, values, mask, kwargs.get("scaling"))
            else:
                states = attend(module, queries, keys, values, mask, **kwargs)[0]
            states = states.to(query.dtype)
        parts.append(states if query.shape[0] > 1 else states.reshape(1, tokens, *states.shape[2:]))
        start += tokens
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=0 if query.shape[0] > 1 else 1), None


def shares_keys(query: Tensor, key: Tensor) -> bool:
    """Whether there are several heads of queries per head of keys."""
    return query.shape[1] != key.shape[1]


def is_plain(query: Tensor, key: Tensor, value: Tensor, kwargs: Mapping[str, Any]) -> bool:
    """
    Whether [`shared_key_attention`] and [`exact_attention`] compute what the model's own attention does: on a CPU,
    without anything that is not in their arguments.
    """
    return (
        query.device.type == "cpu"
        and key.shape == value.shape
        and not kwargs.get("dropout")
        and all(kwargs.get(name) is None for name in ("softcap", "position_bias", "s_aux"))
    )


def shared_key_attention(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scaling: float | None
) -> Tensor:
    """
    Attention whose heads of queries share heads of keys and values. With a mask, transformers copies the keys and
    values of the whole cache for each head of queries, which takes longer than attention itself; torch's kernel for
    CPUs needs no copies and gives the same bits.

    Args:
        query (`Tensor` of shape `(rows, heads, size, head_dim)`)
        key, value (`Tensor` of shape `(rows, key_heads, visible, head_dim)`)
        mask (`Tensor` of shape `(rows, 1, size, visible)`): Added to the scores.
        scaling (`float`, *optional*)

    Returns:
        `Tensor` of shape `(rows, size, heads, head_dim)`.
    """
    states = scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scaling, enable_gqa=True)
    return states.transpose(1, 2)


def part_of(storage: Tensor, first: int, rows: int, start: int, size: int) -> Tensor:
    """A view of `(slots, heads, capacity, head_dim)`: some neighbouring slots and positions."""
    part = storage.narrow(2, start, size)
    return part if rows == storage.shape[0] else part.narrow(0, first, rows)


def rows_apart(states: Tensor, rows: int) -> Tensor:
    """Split `(1, heads, tokens, head_dim)`, row after row, into `(rows, heads, tokens / rows, head_dim)`."""
    if rows == 1:
        return states
    return states[0].unflatten(1, (rows, -1)).transpose(0, 1)


class LayerConfig:
    """
    The configuration as attention layers see it: the model's own, save that attention is [`row_attention`] where that
    can call the model's implementation. It follows later changes, such as those of `set_attn_implementation`.

    Args:
        plain (`PreTrainedConfig`): That of the model.
    """

    def __init__(self, plain: Any) -> None:
        self.plain = plain

    @property
    def _attn_implementation(self) -> str:
        implementation = self.plain._attn_implementation
        if is_flash(implementation):
            return NAME_OF_FLASH
        return NAME if implementation in IMPLEMENTATIONS else implementation

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "plain":  # asked for by copy and pickle before there is anything to ask
            raise AttributeError(name)
        return getattr(self.plain, name)


def install_row_attention(layers: Iterable[nn.Module]) -> None:
    """
    Let attention layers take a [`RowsMask`]; with any other mask they do what they did.

    Args:
        layers (`Iterable[nn.Module]`): All modules of a decoder.
    """
    for layer in layers:
        config = getattr(layer, "config", None)
        # Attention layers keep the configuration to look their implementation up.
        if hasattr(layer, "layer_idx") and hasattr(config, "_attn_implementation"):
            layer.config = LayerConfig(config.plain if isinstance(config, LayerConfig) else config)  # type: ignore


def attend_exactly(layers: Iterable[nn.Module]) -> None:
    """
    Let the results of attention not depend on how many tokens attend at a time, on a CPU, where a [`RowsMask`] asks
    for it: by [`exact_attention`], or in float64 where the model's attention or this processor does not allow that.
    In float64, a whole step of SmolLM2-135M in int8 takes a third longer.

    Args:
        layers (`Iterable[nn.Module]`): All modules of a decoder.
    """
    for layer in layers:
        if isinstance(getattr(layer, "config", None), LayerConfig):
            setattr(layer, EXACT, True)


for name in (NAME, NAME_OF_FLASH):
    AttentionInterface.register(name, row_attention)
