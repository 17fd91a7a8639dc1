"""
Rows without their padding: right-padded rows run as one row, in which attention keeps to each row.

All that a decoder does token by token (projections, feed-forward layers, norms) then sees real tokens only. What keeps
the rows apart travels as the attention mask, so that neither the model nor its configuration changes, several threads
may run one model, and layers that gradient checkpointing runs again see the same rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from .outputs import CACHE

_AS_GIVEN = (CACHE, "inputs_embeds", "position_ids", "output_hidden_states", "output_attentions",
             "output_router_logits")  # fmt: skip
"""Inputs that speak of rows as they were given."""


class RowsMask(torch.Tensor):
    """
    Stands for the block-diagonal causal mask of rows that lie one after the other, and is never filled in:
    `scaled_dot_product_attention` attends within each row, as with [`~torch.nn.attention.bias.CausalBias`].

    Attributes:
        runs (`list[tuple[int, int]]`): (rows, length) of neighbouring rows of equal length; one call attends for all.
    """

    runs: list[tuple[int, int]]

    @classmethod
    def of(cls, lengths: Sequence[int], device: torch.device) -> RowsMask:
        """Of shape `(1, 1, tokens, tokens)`, without memory of that size."""
        tokens = sum(lengths)
        mask = torch.ones((), dtype=torch.bool, device=device).expand(1, 1, tokens, tokens).as_subclass(cls)
        mask.runs = [(len(list(rows)), length) for length, rows in groupby(lengths)]
        return mask

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func is scaled_dot_product_attention:
            mask = kwargs.pop("attn_mask", None)
            query, key, value, *positional = args
            if mask is None:
                mask, *positional = positional
            return mask.attend(query, key, value, **kwargs)
        result = super().__torch_function__(func, types, args, kwargs)
        if isinstance(result, cls):
            given = next(argument for argument in args if isinstance(argument, cls))
            if result.shape != given.shape:
                raise NotImplementedError(
                    f"{getattr(func, '__name__', func)} is not defined for a mask of packed rows: load the model with "
                    "attn_implementation='eager', with which rows are padded instead"
                )
            result.runs = given.runs
        return result

    def attend(self, query: Tensor, key: Tensor, value: Tensor, is_causal: bool = False, **kwargs: Any) -> Tensor:
        """
        Args:
            query, key, value (`Tensor` of shape `(1, heads, tokens, head_dim)`)
            is_causal (`bool`, *optional*): Not used: it is.
            kwargs: As for `scaled_dot_product_attention`.

        Returns:
            `Tensor` of shape `(1, heads, tokens, head_dim)`.
        """
        parts, start = [], 0
        for rows, length in self.runs:
            stop = start + rows * length
            own = [states[0, :, start:stop].unflatten(1, (rows, length)).transpose(0, 1) for states in
                   (query, key, value)]  # fmt: skip
            attended = scaled_dot_product_attention(own[0], own[1], own[2], is_causal=True, **kwargs)
            parts.append(attended.transpose(0, 1).flatten(1, 2))
            start = stop
        return torch.cat(parts, dim=1).unsqueeze(0)


class PackedRows:
    """
    Right-padded rows, packed.

    Args:
        attention_mask (`Tensor` of shape `(rows, length)`): 1 for tokens, then 0 for padding, in each row.
    """

    def __init__(self, attention_mask: Tensor) -> None:
        self.present = attention_mask.bool()
        self.lengths = self.present.sum(dim=1).tolist()

    def pack(self, values: Tensor) -> Tensor:
        """`Tensor` of shape `(rows, length)` → `(1, tokens)`."""
        return values[self.present.to(values.device)].unsqueeze(0)

    def unpack(self, values: Tensor) -> Tensor:
        """`Tensor` of shape `(1, tokens, hidden)` → `(rows, length, hidden)`, with zeros at padding."""
        padded = values.new_zeros(*self.present.shape, values.shape[-1])
        padded[self.present.to(values.device)] = values[0]
        return padded

    def inputs(self, input_ids: Tensor, logits_to_keep: Tensor) -> dict[str, Tensor]:
        """
        What a decoder takes in place of the padded rows.

        Args:
            input_ids (`Tensor` of shape `(rows, length)`)
            logits_to_keep (`Tensor` of the same shape, bool)
        """
        columns = torch.arange(input_ids.shape[1], device=input_ids.device).expand_as(input_ids)
        return {
            "input_ids": self.pack(input_ids),
            "position_ids": self.pack(columns),
            "attention_mask": RowsMask.of(self.lengths, input_ids.device),
            "logits_to_keep": self.pack(logits_to_keep),
        }


def packs_rows(model: Any, longest: int) -> bool:
    """
    Whether rows of this model are packed: on a CPU, where arithmetic is what costs, for a decoder of full attention by
    sdpa. On an accelerator a call of the attention kernel for each length would cost more than little padding does.

    Args:
        model: A decoder of transformers.
        longest (`int`): Tokens of the longest row: within its window, sliding attention is full attention.
    """
    config = model.config.get_text_config()
    window = getattr(config, "sliding_window", None)
    return (
        config._attn_implementation == "sdpa"
        and getattr(model, "_supports_attention_backend", False)
        and not getattr(model, "_is_stateful", False)
        and set(getattr(config, "layer_types", None) or []) <= {"full_attention", "sliding_attention"}
        and (window is None or longest <= window)
        and model.get_input_embeddings().weight.device.type == "cpu"
        and not torch.compiler.is_compiling()
    )


def packed_rows(model: Any, inputs: Mapping[str, Any]) -> PackedRows | None:
    """
    The rows of a forward's inputs, where packing them changes nothing but the time it takes.

    Args:
        model: A decoder of transformers.
        inputs (`Mapping`): Keyword arguments of its forward.

    Returns:
        [`PackedRows`], or `None` where no row is padded on the right, or rows can't be told apart.
    """
    mask, kept = inputs.get("attention_mask"), inputs.get("logits_to_keep")
    if mask is None or mask.ndim != 2 or not packs_rows(model, mask.shape[1]):
        return None
    if not isinstance(kept, Tensor) or kept.dtype != torch.bool or inputs.get("use_cache") is not False:
        return None
    if any(inputs.get(name) is not None for name in _AS_GIVEN) or model.config.output_hidden_states:
        return None
    present = mask.bool()
    padded_right = present[:, 0].all() & ~(present[:, 1:] & ~present[:, :-1]).any() & ~present.all()
    return PackedRows(mask) if bool(padded_right) else None
