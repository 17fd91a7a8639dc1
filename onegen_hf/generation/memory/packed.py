"""`PackedMemory`: reads rows of any lengths in one forward without padding."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from ...modeling.positions import context_length
from ...modeling.row_attention import RowGroup, RowsMask, groups_of, packs_with
from ...modeling.token_head import TokenHead
from .base import StepOutput, check_room
from .cache import RaggedCache
from .recorded_step import StepRecorder


def packs_by_its_layers(model: Any) -> bool:
    """
    Whether [`PackedMemory`] supports a model's layer types: full and sliding-window attention with sdpa, eager or
    flash attention. [`reading_of`] tests whether it is also correct for this model.
    """
    config = model.config.get_text_config()
    kinds = {type(layer) for layer in DynamicCache(config=config).layers}
    plain = kinds <= {DynamicLayer, DynamicSlidingWindowLayer} and not getattr(model, "_is_stateful", False)
    named = set(getattr(config, "layer_types", None) or []) <= {"full_attention", "sliding_attention"}
    backend = packs_with(config._attn_implementation) and getattr(model, "_supports_attention_backend", False)
    return bool(plain and named and backend)


class PackedMemory:
    """All rows share one [`RaggedCache`]; their new tokens go through the model in one forward without padding."""

    can_rollback = True

    def __init__(self, model: Any, rows: list[int]) -> None:
        self.model = model
        self.context = context_length(model)
        self.slot_of = {row: slot for slot, row in enumerate(rows)}
        self.cache = RaggedCache(len(rows), model.device, model.config.get_text_config().num_hidden_layers)
        self.recorder = StepRecorder(model, self.cache)

    def append(
        self,
        rows: list[int],
        chunks: list[list[int]],
        positions: Sequence[Sequence[int]] | None = None,
        drafts: Sequence[int] | None = None,
        among_few: bool = False,
    ) -> StepOutput:
        order = sorted(range(len(rows)), key=lambda place: self.slot_of[rows[place]])
        slots = [self.slot_of[rows[place]] for place in order]
        sizes = [len(chunks[place]) for place in order]
        groups = groups_of(slots, [self.cache.lengths[slot] for slot in slots], sizes)
        input_ids = [token for place in order for token in chunks[place]]
        position_ids = self.cache.extend(slots, sizes)
        check_room(self.cache.lengths, self.context)
        # Each copy to an accelerator synchronizes, so these two share one.
        inputs = torch.tensor([input_ids, position_ids], device=self.cache.device)
        extra, drafted = positions or [[]] * len(rows), drafts or [0] * len(rows)
        in_order = order == list(range(len(rows)))
        head = self.head if among_few else None
        if head is None and in_order and len(groups) == 1 and len(input_ids) == len(rows) and not any(extra):
            return self._step(groups, inputs)
        begins = dict(zip(order, accumulate(sizes, initial=0), strict=False))
        lasts = [begins[place] + len(chunk) for place, chunk in enumerate(chunks)]
        ends = [last - 1 - count for last, count in zip(lasts, drafted, strict=True)]
        drafted_at = [at for last, count in zip(lasts, drafted, strict=True) for at in range(last - count, last)]
        others = [begins[place] + position for place, offsets in enumerate(extra) for position in offsets]
        if head is None:
            kept = torch.tensor([ends + drafted_at], device=self.cache.device)
            output = self._forward(groups, inputs.unsqueeze(1), [ends + others], kept)
            embeddings, logits = output.retrieval_embeddings[0], output.logits[0].float()
        else:
            last = self._last_states(groups, inputs.unsqueeze(1))
            embeddings, logits = self.model._projected(last[ends + others]), last[ends + drafted_at]
        hidden, states = embeddings.split([len(ends), len(others)])
        logits, after_drafts = logits.split([len(ends), len(drafted_at)])
        return StepOutput(
            logits,
            hidden,
            list(states.split([len(offsets) for offsets in extra])),
            list(after_drafts.split(list(drafted))),
            head,
        )

    def _step(self, groups: list[RowGroup], inputs: Tensor) -> StepOutput:
        """One token of each row, in adjacent slots: nothing to pack or select."""
        recorded = self.recorder(inputs.shape[1], inputs) if groups[0].first == 0 else None
        if recorded is None:
            output = self._forward(groups, inputs.unsqueeze(2), [[0]] * inputs.shape[1], 0)
            recorded = output.logits[:, 0], output.retrieval_embeddings[:, 0]
        logits, hidden = recorded[0].float(), recorded[1]
        return StepOutput(logits, hidden, [hidden[:0]] * len(hidden), [logits[:0]] * len(logits))

    def _forward(
        self, groups: list[RowGroup], inputs: Tensor, retrieval_positions: list[list[int]], kept: Tensor | int
    ) -> Any:
        """`inputs` are token ids and their positions, each in the shape that the model takes."""
        return self.model(
            input_ids=inputs[0],
            position_ids=inputs[1],
            attention_mask=RowsMask.of(groups, cached=True, device=self.cache.device),
            cache=self.cache,
            use_cache=True,
            logits_to_keep=kept,
            retrieval_positions=torch.tensor(retrieval_positions),
        )

    def _last_states(self, groups: list[RowGroup], inputs: Tensor) -> Tensor:
        """The last hidden states, of shape `(tokens, hidden)`, without the language-model head."""
        _, states = self.model._decode(
            None,
            input_ids=inputs[0],
            position_ids=inputs[1],
            # A choice among few tokens is often close: it must not depend on how many tokens were drafted.
            attention_mask=RowsMask.of(groups, cached=True, device=self.cache.device, exact=True),
            cache=self.cache,
            use_cache=True,
            logits_to_keep=torch.zeros_like(inputs[0], dtype=torch.bool),
        )
        return states.hidden[0]

    @cached_property
    def head(self) -> TokenHead | None:
        """Chooses among a few tokens, if the model lets it."""
        return TokenHead.of(self.model)

    def rollback(self, row: int, tokens: int) -> None:
        self.cache.lengths[self.slot_of[row]] -= tokens

    def fork(self, source: int, row: int) -> None:
        self.slot_of[row] = self.slot_of[source]

    def retain(self, rows: list[int]) -> None:
        self.cache.arrange([self.slot_of.get(row) for row in rows])
        self.slot_of = {row: slot for slot, row in enumerate(rows)}
