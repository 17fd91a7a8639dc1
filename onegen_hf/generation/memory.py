"""What a batch has read so far: new tokens go through the model, each exactly once, and the last states come back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from ..modeling.row_attention import IMPLEMENTATIONS, RowGroup, RowsMask, groups_of
from .cache import RaggedCache


@dataclass
class StepOutput:
    """
    Result of appending tokens to some rows.

    Attributes:
        logits (`Tensor` of shape `(rows, vocab)`, float32): After each row's last token that is no draft.
        hidden (`Tensor` of shape `(rows, hidden)`): Last hidden state at that token.
        states (`list[Tensor]`): For each row, of shape `(len(positions), hidden)`: last hidden states at the further
            positions that were asked for.
        drafted (`list[Tensor]`): For each row, of shape `(drafts, vocab)`, float32: the logits after each draft.
    """

    logits: Tensor
    hidden: Tensor
    states: list[Tensor]
    drafted: list[Tensor] = field(default_factory=list)


class Memory(Protocol):
    """
    Keys and values of a batch.

    Attributes:
        can_rollback (`bool`): Whether the last tokens of a row can be taken back. Without it there are no drafts.
    """

    can_rollback: bool

    def append(
        self,
        rows: list[int],
        chunks: list[list[int]],
        positions: Sequence[Sequence[int]] | None = None,
        drafts: Sequence[int] | None = None,
    ) -> StepOutput:
        """
        Append `chunks[i]` (at least one token) to row `rows[i]`; `positions[i]` are places in that chunk whose hidden
        states are wanted beside that of its last token. The last `drafts[i]` tokens of a chunk are drafts: there is
        another token before them.
        """

    def rollback(self, row: int, tokens: int) -> None:
        """Take the last tokens of a row back."""

    def retain(self, rows: list[int]) -> None:
        """Keep just these rows; the places of all others go to new rows."""


def memory_for(model: Any, rows: list[int]) -> Memory:
    """
    The memory that fits a model: all rows packed into one forward where its attention can be told apart by row (plain
    and sliding-window attention with sdpa or eager), otherwise row after row (recurrent layers, chunked or flash
    attention): slower, and right for every decoder.
    """
    config = model.config.get_text_config()
    kinds = {type(layer) for layer in DynamicCache(config=config).layers}
    plain = kinds <= {DynamicLayer, DynamicSlidingWindowLayer} and not getattr(model, "_is_stateful", False)
    named = set(getattr(config, "layer_types", None) or []) <= {"full_attention", "sliding_attention"}
    packs = config._attn_implementation in IMPLEMENTATIONS and bool(
        getattr(model, "_supports_attention_backend", False)
    )
    return PackedMemory(model, rows) if plain and named and packs else SequentialMemory(model, rows)


class PackedMemory:
    """All rows in one [`RaggedCache`]; what several rows add goes through the model in one forward without padding."""

    can_rollback = True

    def __init__(self, model: Any, rows: list[int]) -> None:
        self.model = model
        self.slot_of = {row: slot for slot, row in enumerate(rows)}
        self.cache = RaggedCache(len(rows), model.device, model.config.get_text_config().num_hidden_layers)

    def append(
        self,
        rows: list[int],
        chunks: list[list[int]],
        positions: Sequence[Sequence[int]] | None = None,
        drafts: Sequence[int] | None = None,
    ) -> StepOutput:
        order = sorted(range(len(rows)), key=lambda place: self.slot_of[rows[place]])
        slots = [self.slot_of[rows[place]] for place in order]
        sizes = [len(chunks[place]) for place in order]
        groups = groups_of(slots, [self.cache.lengths[slot] for slot in slots], sizes)
        input_ids = [token for place in order for token in chunks[place]]
        position_ids = self.cache.extend(slots, sizes)
        # Each copy to an accelerator waits for it, so these two go together.
        inputs = torch.tensor([input_ids, position_ids], device=self.cache.device)
        wanted, drafted = positions or [[]] * len(rows), drafts or [0] * len(rows)
        in_order = order == list(range(len(rows)))
        if in_order and len(groups) == 1 and len(input_ids) == len(rows) and not any(wanted):
            return self._step(groups, inputs)
        begins = dict(zip(order, accumulate(sizes, initial=0), strict=False))
        lasts = [begins[place] + len(chunk) for place, chunk in enumerate(chunks)]
        ends = [last - 1 - count for last, count in zip(lasts, drafted, strict=True)]
        drafted_at = [at for last, count in zip(lasts, drafted, strict=True) for at in range(last - count, last)]
        others = [begins[place] + position for place, own in enumerate(wanted) for position in own]
        kept = torch.tensor([ends + drafted_at], device=self.cache.device)
        output = self._forward(groups, inputs.unsqueeze(1), [ends + others], kept)
        hidden, states = output.retrieval_embeddings[0].split([len(ends), len(others)])
        logits, after_drafts = output.logits[0].float().split([len(ends), len(drafted_at)])
        return StepOutput(
            logits, hidden, list(states.split([len(own) for own in wanted])), list(after_drafts.split(list(drafted)))
        )

    def _step(self, groups: list[RowGroup], inputs: Tensor) -> StepOutput:
        """A token of each row, all of which lie side by side: nothing is packed, nothing picked out."""
        output = self._forward(groups, inputs.unsqueeze(2), [[0]] * inputs.shape[1], 0)
        hidden, logits = output.retrieval_embeddings[:, 0], output.logits[:, 0].float()
        return StepOutput(logits, hidden, [hidden[:0]] * len(hidden), [logits[:0]] * len(logits))

    def _forward(
        self, groups: list[RowGroup], inputs: Tensor, retrieval_positions: list[list[int]], kept: Tensor | int
    ) -> Any:
        """`inputs` are token ids and their positions, each of the shape that the model takes."""
        return self.model(
            input_ids=inputs[0],
            position_ids=inputs[1],
            attention_mask=RowsMask.of(groups, cached=True, device=self.cache.device),
            cache=self.cache,
            use_cache=True,
            logits_to_keep=kept,
            retrieval_positions=torch.tensor(retrieval_positions),
        )

    def rollback(self, row: int, tokens: int) -> None:
        self.cache.lengths[self.slot_of[row]] -= tokens

    def retain(self, rows: list[int]) -> None:
        new = [row for row in rows if row not in self.slot_of]
        free = sorted(slot for row, slot in self.slot_of.items() if row not in rows)
        slot_of = {row: slot for row, slot in self.slot_of.items() if row in rows}
        slot_of |= zip(new, free, strict=False)
        self.cache.clear(free[: len(new)])
        if len(free) > len(new):
            self.cache.keep([slot_of[row] for row in rows])
            slot_of = {row: slot for slot, row in enumerate(rows)}
        self.slot_of = slot_of


class SequentialMemory:
    """One cache of the model's own kind and one forward per row: no padding, so no assumption about layers."""

    can_rollback = False

    def __init__(self, model: Any, rows: list[int]) -> None:
        self.model = model
        self.caches: dict[int, Any] = {}
        self.lengths = dict.fromkeys(rows, 0)

    def append(
        self,
        rows: list[int],
        chunks: list[list[int]],
        positions: Sequence[Sequence[int]] | None = None,
        drafts: Sequence[int] | None = None,
    ) -> StepOutput:
        assert not any(drafts or []), "recurrent states can't be taken back"
        wanted = positions or [[]] * len(rows)
        outputs = [self._append_to(*own) for own in zip(rows, chunks, wanted, strict=True)]
        return StepOutput(
            torch.cat([o.logits for o in outputs]),
            torch.cat([o.hidden for o in outputs]),
            [o.states[0] for o in outputs],
            [o.logits[:0] for o in outputs],
        )

    def rollback(self, row: int, tokens: int) -> None:
        raise NotImplementedError("recurrent states can't be taken back")

    def _append_to(self, row: int, chunk: list[int], positions: Sequence[int]) -> StepOutput:
        if row not in self.caches:
            self.caches[row] = DynamicCache(config=self.model.config.get_text_config())
        device, start = self.model.device, self.lengths[row]
        last = len(chunk) - 1
        output = self.model(
            input_ids=torch.tensor([chunk], device=device),
            attention_mask=torch.ones(1, start + len(chunk), dtype=torch.int64, device=device),
            position_ids=torch.arange(start, start + len(chunk), device=device).unsqueeze(0),
            cache=self.caches[row],
            use_cache=True,
            logits_to_keep=torch.tensor([[last]], device=device),
            retrieval_positions=torch.tensor([[last, *positions]]),
        )
        self.lengths[row] += len(chunk)
        states = output.retrieval_embeddings[0]
        return StepOutput(output.logits[:, -1].float(), states[:1], [states[1:]])

    def retain(self, rows: list[int]) -> None:
        self.caches = {row: cache for row, cache in self.caches.items() if row in rows}
        self.lengths = {row: self.lengths.get(row, 0) for row in rows}
