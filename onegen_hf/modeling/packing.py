"""Rows without their padding: right-padded rows run as one row, in which attention keeps to each row."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from .devices import input_device
from .flash_rows import is_flash
from .outputs import CACHE
from .positions import check_positions, gather_hidden
from .row_attention import RowsMask, groups_of
from .tiny_twin import tiny_twin
from .variable_length import computed_dtype, takes_variable_lengths

logger = logging.getLogger(__name__)

_AS_GIVEN = (CACHE, "inputs_embeds", "position_ids", "output_hidden_states", "output_attentions",
             "output_router_logits")  # fmt: skip
"""Inputs that speak of rows as they were given."""


class PackedRows:
    """
    Right-padded rows of one or several batches, packed: one row after the other, batch by batch.

    Args:
        lengths (`Sequence[Sequence[int]]`): Tokens of the rows of each batch, at least one.
        widths (`Sequence[int]`): Length to which each batch is padded.
        device (`torch.device`): Of the packed tokens.
    """

    def __init__(self, lengths: Sequence[Sequence[int]], widths: Sequence[int], device: torch.device) -> None:
        self.shapes = [(len(rows), width) for rows, width in zip(lengths, widths, strict=True)]
        self.lengths = [length for rows in lengths for length in rows]
        # All indices are made on the host, so that the device is asked for nothing. (rows,)
        sizes = torch.tensor(self.lengths)
        starts = sizes.cumsum(0) - sizes
        padded = torch.tensor([width for rows, width in self.shapes for _ in range(rows)])
        columns = torch.arange(sum(self.lengths)) - starts.repeat_interleave(sizes)
        places = (padded.cumsum(0) - padded).repeat_interleave(sizes) + columns
        # (2, rows) and (2, tokens)
        self.starts, self.sizes = torch.stack([starts, sizes]).to(device, non_blocking=True)
        self.columns, self.places = torch.stack([columns, places]).to(device, non_blocking=True)

    def pack(self, *batches: Tensor) -> Tensor:
        """`Tensor` of shape `(rows, width)` for each batch → `(1, tokens)`."""
        return torch.cat([batch.flatten() for batch in batches])[self.places].unsqueeze(0)

    def unpack(self, values: Tensor, batch: int = 0) -> Tensor:
        """`Tensor` of shape `(1, tokens, hidden)` → `(rows, width, hidden)` of a batch, with zeros at padding."""
        padded = values.new_zeros(sum(rows * width for rows, width in self.shapes), values.shape[-1])
        padded[self.places.to(values.device)] = values[0]
        parts = padded.split([rows * width for rows, width in self.shapes])
        return parts[batch].unflatten(0, self.shapes[batch])

    def gather(self, hidden: Tensor, positions: Tensor, batch: int = 0) -> Tensor:
        """
        As [`gather_hidden`] of the padded rows, which are not made.

        Args:
            hidden (`Tensor` of shape `(1, tokens, hidden)`)
            positions (`Tensor`): Into the rows of a batch.
            batch (`int`, *optional*, defaults to 0)
        """
        check_positions(positions, *self.shapes[batch])
        if positions.dtype == torch.bool:
            return gather_hidden(self.unpack(hidden, batch), positions)
        if positions.ndim == 1:
            return self.gather(hidden, positions.unsqueeze(1), batch).squeeze(1)
        first = sum(rows for rows, _ in self.shapes[:batch])
        starts, sizes = (
            values[first : first + self.shapes[batch][0]].to(hidden.device).unsqueeze(1)
            for values in (self.starts, self.sizes)
        )
        positions = positions.to(hidden.device)
        present = (positions >= 0) & (positions < sizes)
        picked = hidden[0][starts + positions.clamp(min=0).minimum(sizes - 1)]
        return picked * present.unsqueeze(-1).to(picked.dtype)

    def inputs(self, input_ids: Sequence[Tensor], logits_to_keep: Sequence[Tensor]) -> dict[str, Tensor]:
        """
        What a decoder takes in place of the padded rows.

        Args:
            input_ids (`Sequence[Tensor]`): Of shape `(rows, width)`, for each batch.
            logits_to_keep (`Sequence[Tensor]`): Of the same shapes, bool.
        """
        groups = groups_of(range(len(self.lengths)), [0] * len(self.lengths), self.lengths)
        return {
            "input_ids": self.pack(*input_ids),
            "position_ids": self.columns.unsqueeze(0),
            "attention_mask": RowsMask.of(groups, cached=False, device=self.columns.device),
            "logits_to_keep": self.pack(*logits_to_keep),
        }


@dataclass
class LastStates:
    """
    The decoder's last hidden states of one or several batches of rows.

    Attributes:
        hidden (`Tensor`): Of shape `(rows, width, hidden)`, or `(1, tokens, hidden)` of packed rows.
        rows ([`PackedRows`], *optional*)
    """

    hidden: Tensor
    rows: PackedRows | None

    @property
    def batches(self) -> int:
        """How many batches went through the decoder together."""
        return 1 if self.rows is None else len(self.rows.shapes)

    def at(self, positions: Tensor, batch: int = 0) -> Tensor:
        """The states at some positions of the rows of a batch, see [`gather_hidden`]."""
        if self.rows is None:
            return gather_hidden(self.hidden, positions)
        return self.rows.gather(self.hidden, positions, batch)


def packs_rows(model: Any, longest: int) -> bool:
    """
    Whether rows of this model are packed: for a decoder of full attention by sdpa or flash attention, on a CPU, where
    arithmetic is what costs, and on a GPU whose attention kernel takes rows of any lengths. Elsewhere a call of the
    kernel for each length would cost more than little padding does.

    Args:
        model: A decoder of transformers.
        longest (`int`): Tokens of the longest row: within its window, sliding attention is full attention.
    """
    config = model.config.get_text_config()
    window = getattr(config, "sliding_window", None)
    return (
        (config._attn_implementation == "sdpa" or is_flash(config._attn_implementation))
        and getattr(model, "_supports_attention_backend", False)
        and not getattr(model, "_is_stateful", False)
        and set(getattr(config, "layer_types", None) or []) <= {"full_attention", "sliding_attention"}
        and (window is None or longest <= window)
        and _attends_fast(model, config)
        and not torch.compiler.is_compiling()
        and _keeps_rows_apart(model, tiny_twin(model))
    )


def _attends_fast(model: Any, config: Any) -> bool:
    device = input_device(model)
    if device.type == "cpu" or is_flash(config._attn_implementation):
        return True
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    dtype = model.get_input_embeddings().weight.dtype
    return takes_variable_lengths(device, computed_dtype(dtype, device), head_dim)


@torch.no_grad()
def _keeps_rows_apart(model: Any, twin: Any) -> bool:
    """Whether packed rows equal the rows alone, tried once on a tiny twin; where there is none, rows are padded."""
    if twin is None:
        return False
    if twin not in _tried:
        rows = [[3, 9, 4, 17], [7, 12], [5, 22]]
        groups = groups_of([0, 1, 2], [0, 0, 0], [4, 2, 2])
        tokens = torch.tensor([sum(rows, [])])
        try:
            together = twin(
                tokens,
                attention_mask=RowsMask.of(groups, cached=False, device=tokens.device),
                position_ids=torch.tensor([[*range(4), *range(2), *range(2)]]),
                use_cache=False,
                retrieval_positions=torch.ones_like(tokens, dtype=torch.bool),
            ).retrieval_embeddings
            alone = [
                twin(ids, use_cache=False, retrieval_positions=torch.ones_like(ids, dtype=torch.bool))
                for ids in (torch.tensor([row]) for row in rows)
            ]
            expected = torch.cat([output.retrieval_embeddings for output in alone])
            _tried[twin] = bool((together - expected).norm() <= 1e-4 * expected.norm())
        except Exception:  # any decoder may do with a mask what is not defined for this one
            _tried[twin] = False
        if not _tried[twin]:
            logger.info("rows of %s are padded: packed ones are not kept apart", type(model).__name__)
    return _tried[twin]


_tried: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()


def packed_rows(
    model: Any, inputs: Mapping[str, Any], passages: tuple[Tensor, Tensor] | None = None
) -> PackedRows | None:
    """
    The rows of a forward's inputs, where packing them changes nothing but the time it takes.

    Args:
        model: A decoder of transformers.
        inputs (`Mapping`): Keyword arguments of its forward.
        passages (`tuple[Tensor, Tensor]`, *optional*): Token ids and attention mask of a second batch, to run in the
            same forward.

    Returns:
        [`PackedRows`], or `None` where a lone batch has no padding, padding is not on the right, or rows can't be told
        apart.
    """
    masks = [inputs.get("attention_mask"), *([] if passages is None else [passages[1]])]
    if any(mask is None or mask.ndim != 2 or not mask.shape[0] for mask in masks):
        return None
    widths = [mask.shape[1] for mask in masks]  # type: ignore[union-attr]
    kept = inputs.get("logits_to_keep")
    if not packs_rows(model, max(widths)):
        return None
    if not isinstance(kept, Tensor) or kept.dtype != torch.bool or inputs.get("use_cache") is not False:
        return None
    if any(inputs.get(name) is not None for name in _AS_GIVEN) or model.config.output_hidden_states:
        return None
    lengths = _lengths(masks)  # type: ignore[arg-type]
    if lengths is None or (passages is None and min(lengths[0]) == widths[0]):
        return None
    return PackedRows(lengths, widths, inputs["input_ids"].device)


def _lengths(masks: Sequence[Tensor]) -> list[list[int]] | None:
    """Tokens of the rows of each batch; `None` where a row is empty, or padded elsewhere than on the right."""
    lengths = []
    for mask in masks:
        present = mask.bool()
        sizes = present.sum(dim=1)
        columns = torch.arange(mask.shape[1], device=mask.device)
        padded_right = (present == (columns < sizes.unsqueeze(1))).all(dim=1)
        lengths.append(sizes * padded_right)
    # The device is waited for once.
    joined = torch.cat(lengths).tolist()
    if 0 in joined:
        return None
    ends = [0, *accumulate(len(part) for part in lengths)]
    return [joined[start:end] for start, end in pairwise(ends)]
