"""Rows without their padding: right-padded rows run as one row, in which attention keeps to each row."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from .outputs import CACHE
from .row_attention import RowsMask, groups_of
from .tiny_twin import tiny_twin
from .variable_length import computed_dtype, takes_variable_lengths

logger = logging.getLogger(__name__)

_AS_GIVEN = (CACHE, "inputs_embeds", "position_ids", "output_hidden_states", "output_attentions",
             "output_router_logits")  # fmt: skip
"""Inputs that speak of rows as they were given."""


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
        groups = groups_of(range(len(self.lengths)), [0] * len(self.lengths), self.lengths)
        return {
            "input_ids": self.pack(input_ids),
            "position_ids": self.pack(columns),
            "attention_mask": RowsMask.of(groups, cached=False, device=input_ids.device),
            "logits_to_keep": self.pack(logits_to_keep),
        }


def packs_rows(model: Any, longest: int) -> bool:
    """
    Whether rows of this model are packed: for a decoder of full attention by sdpa, on a CPU, where arithmetic is what
    costs, and on a GPU whose attention kernel takes rows of any lengths. Elsewhere a call of the kernel for each
    length would cost more than little padding does.

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
        and _attends_fast(model, config)
        and not torch.compiler.is_compiling()
        and _keeps_rows_apart(model, tiny_twin(model))
    )


def _attends_fast(model: Any, config: Any) -> bool:
    weight = model.get_input_embeddings().weight
    if weight.device.type == "cpu":
        return True
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return takes_variable_lengths(weight.device, computed_dtype(weight.dtype, weight.device), head_dim)


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
