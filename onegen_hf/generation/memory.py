"""What a batch has read so far: feeds new tokens to the model, each exactly once, and hands back the last states."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from .cache import RaggedCache


@dataclass
class StepOutput:
    """
    Result of feeding tokens to some rows.

    Attributes:
        logits (`Tensor` of shape `(rows, vocab)`, float32): After each row's last token.
        hidden (`Tensor` of shape `(rows, hidden)`): Last hidden state at each row's last token.
    """

    logits: Tensor
    hidden: Tensor


class Memory(Protocol):
    """Keys and values of a batch."""

    def feed(self, rows: list[int], chunks: list[list[int]]) -> StepOutput:
        """Append `chunks[i]` (at least one token) to row `rows[i]`."""

    def hold(self, rows: list[int]) -> None:
        """Hold just these rows: forget all others, whose places go to rows that are new."""


def memory_for(model: Any, rows: list[int]) -> Memory:
    """
    The memory that fits a model: all rows in one forward where its attention allows rows of unlike length (plain and
    sliding-window attention with sdpa or eager), otherwise row after row (recurrent layers, flash attention): slower,
    and right for every decoder.
    """
    config = model.config.get_text_config()
    kinds = {type(layer) for layer in DynamicCache(config=config).layers}
    attention = kinds <= {DynamicLayer, DynamicSlidingWindowLayer} and not getattr(model, "_is_stateful", False)
    if attention and config._attn_implementation in ("sdpa", "eager"):
        return RaggedMemory(model, rows)
    return SequentialMemory(model, rows)


@dataclass
class RaggedMemory:
    """All rows in one [`RaggedCache`]; several rows per forward, right-padded to the longest chunk among them."""

    model: Any
    rows: list[int]
    lengths: dict[int, int] = field(init=False)
    slot_of: dict[int, int] = field(init=False)

    def __post_init__(self) -> None:
        config = self.model.config.get_text_config()
        self.lengths = dict.fromkeys(self.rows, 0)
        self.slot_of = {row: slot for slot, row in enumerate(self.rows)}
        self.cache = RaggedCache(len(self.rows), self.model.device, config.num_hidden_layers)
        types = set(getattr(config, "layer_types", None) or [])
        self.window = getattr(config, "sliding_window", None)
        if types:
            self.window = self.window if "sliding_attention" in types else None
        self.mixed = types == {"full_attention", "sliding_attention"}

    def feed(self, rows: list[int], chunks: list[list[int]]) -> StepOutput:
        sizes = [len(chunk) for chunk in chunks]
        chunk, device = max(sizes), self.model.device
        lengths = [self.lengths[row] for row in rows]
        positions = self.cache.begin([self.slot_of[row] for row in rows], chunk, lengths)
        last = torch.tensor([[size - 1] for size in sizes], device=device)
        output = self.model(
            input_ids=torch.tensor([ids + [0] * (chunk - len(ids)) for ids in chunks], device=device),
            attention_mask=self._mask(positions, lengths, sizes),
            position_ids=positions,
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=last,
            retrieval_positions=last,
        )
        self.cache.commit(sizes)
        for row, size in zip(rows, sizes, strict=True):
            self.lengths[row] += size
        return StepOutput(output.logits[:, -1].float(), output.retrieval_embeddings[:, 0])

    def hold(self, rows: list[int]) -> None:
        new = [row for row in rows if row not in self.slot_of]
        free = sorted(slot for row, slot in self.slot_of.items() if row not in rows)
        slot_of = {row: slot for row, slot in self.slot_of.items() if row in rows}
        slot_of |= zip(new, free, strict=False)
        self.cache.clear(free[: len(new)])
        if len(free) > len(new):
            self.cache.keep([slot_of[row] for row in rows])
            slot_of = {row: slot for slot, row in enumerate(rows)}
        self.slot_of = slot_of
        self.lengths = {row: self.lengths.get(row, 0) for row in rows}

    def _mask(self, positions: Tensor, lengths: list[int], sizes: list[int]) -> Any:
        visible = self.cache.visible
        window = self.window if self.window is not None and visible > self.window else None
        if len(set(lengths)) == len(set(sizes)) == 1 and self.cache.chunk == 1 and window is None:
            return None
        columns = torch.arange(visible, device=positions.device)
        # (rows, 1, chunk, visible): a token sees the positions of its own row up to its own.
        causal = (columns <= positions.unsqueeze(2)).unsqueeze(1)
        if window is None:
            return self._as_attention_wants(causal)
        windowed = causal & (columns > positions.unsqueeze(2) - window).unsqueeze(1)
        if not self.mixed:
            return self._as_attention_wants(windowed)
        return {
            "full_attention": self._as_attention_wants(causal),
            "sliding_attention": self._as_attention_wants(windowed),
        }

    def _as_attention_wants(self, allowed: Tensor) -> Tensor:
        if self.model.config.get_text_config()._attn_implementation == "sdpa":
            return allowed
        dtype = self.model.dtype
        return torch.zeros(allowed.shape, dtype=dtype, device=allowed.device).masked_fill(
            ~allowed, torch.finfo(dtype).min
        )


class SequentialMemory:
    """One cache of the model's own kind and one forward per row: no padding, so no assumption about layers."""

    def __init__(self, model: Any, rows: list[int]) -> None:
        self.model = model
        self.caches: dict[int, Any] = {}
        self.lengths = dict.fromkeys(rows, 0)

    def feed(self, rows: list[int], chunks: list[list[int]]) -> StepOutput:
        outputs = [self._feed_row(row, chunk) for row, chunk in zip(rows, chunks, strict=True)]
        return StepOutput(torch.cat([o.logits for o in outputs]), torch.cat([o.hidden for o in outputs]))

    def _feed_row(self, row: int, chunk: list[int]) -> StepOutput:
        if row not in self.caches:
            self.caches[row] = DynamicCache(config=self.model.config.get_text_config())
        device, start = self.model.device, self.lengths[row]
        last = torch.tensor([[len(chunk) - 1]], device=device)
        output = self.model(
            input_ids=torch.tensor([chunk], device=device),
            attention_mask=torch.ones(1, start + len(chunk), dtype=torch.int64, device=device),
            position_ids=torch.arange(start, start + len(chunk), device=device).unsqueeze(0),
            past_key_values=self.caches[row],
            use_cache=True,
            logits_to_keep=last,
            retrieval_positions=last,
        )
        self.lengths[row] += len(chunk)
        return StepOutput(output.logits[:, -1].float(), output.retrieval_embeddings[:, 0])

    def hold(self, rows: list[int]) -> None:
        self.caches = {row: cache for row, cache in self.caches.items() if row in rows}
        self.lengths = {row: self.lengths.get(row, 0) for row in rows}
