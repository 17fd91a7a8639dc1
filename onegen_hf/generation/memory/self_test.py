"""
Finds out how a backbone can read several rows: packed together, row after row in chunks, or token by token.

Architectures differ in what their caches and masks allow, and an unsupported way may fail silently. Each way is tried
once on a tiny twin of the model and used only if it equals a plain forward.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from enum import Enum
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from ...modeling.flash_rows import is_flash
from ...modeling.tiny_twin import tiny_twin
from .base import Memory
from .packed import PackedMemory, packs_by_its_layers
from .sequential import SequentialMemory

logger = logging.getLogger(__name__)

ROWS = ([3, 9, 4, 17, 5, 22, 8, 31, 2, 40, 6, 11], [7, 12, 50, 33, 19])
"""Two test rows; one is longer than the attention windows of a twin."""
CHUNKS = ((4, 1, 7), (2, 1, 2))
"""Sizes of the pieces in which each row is read: a prompt, a token, a passage."""
TOLERANCE = 1e-3
"""Largest relative difference of hidden states in float32."""


class Reading(Enum):
    """How a model reads several rows."""

    PACKED = "packed"
    """All rows together, without padding."""
    CHUNKS = "chunks"
    """Row after row, with a whole prompt or passage per forward."""
    TOKENS = "tokens"
    """Row after row, one token per forward, which every recurrent decoder supports."""


_readings: WeakKeyDictionary[Any, dict[str, Reading]] = WeakKeyDictionary()


def reading_of(model: Any) -> Reading:
    """
    The fastest way to read rows that is correct for a model.

    Args:
        model ([`OneGenForCausalLM`])

    Raises:
        `ValueError`: If no way is correct.
    """
    known = _readings.setdefault(model, {})
    implementation = _implementation_of(model)
    if implementation not in known:
        known[implementation] = _try_out(model)
    return known[implementation]


def memory_for(model: Any, rows: list[int]) -> Memory:
    """The memory for a batch of a model, see [`reading_of`]."""
    reading = reading_of(model)
    if reading is Reading.PACKED:
        return PackedMemory(model, rows)
    return SequentialMemory(model, rows, chunks=reading is Reading.CHUNKS)


def _try_out(model: Any) -> Reading:
    twin = tiny_twin(model)
    ways: list[tuple[Reading, Callable[[Any], Memory]]] = [
        (Reading.CHUNKS, lambda tried: SequentialMemory(tried, [0, 1])),
        (Reading.TOKENS, lambda tried: SequentialMemory(tried, [0, 1], chunks=False)),
    ]
    if packs_by_its_layers(model):
        ways.insert(0, (Reading.PACKED, lambda tried: PackedMemory(tried, [0, 1])))
        if twin is None and _has_windows(model):
            # The test rows are too short to show whether a window is respected.
            del ways[0]
    name, reasons = type(model).__name__, []
    for reading, memory in ways:
        try:
            difference = _difference(twin if twin is not None else model, memory)
            if twin is not None and reading is Reading.PACKED and is_flash(_implementation_of(model)):
                # The twin attends with sdpa, since flash attention needs a GPU: the kernel is tried on the model.
                difference = max(difference, _difference(model, memory) * TOLERANCE / _tolerance(model))
        except Exception as error:  # anything that a decoder does not support
            reasons.append(f"{reading.value}: {type(error).__name__}: {str(error)[:120]}")
            continue
        if difference <= (TOLERANCE if twin is not None else _tolerance(model)):
            if reasons:
                logger.warning("%s is read %s, which is slower (%s)", name, _IN_WORDS[reading], "; ".join(reasons))
            return reading
        reasons.append(f"{reading.value}: differs from a plain forward by {difference:.1e}")
    raise ValueError(
        f"{name} can't be continued behind its cache, which one-pass decoding needs ({'; '.join(reasons)}): choose "
        "another backbone"
    )


def _implementation_of(model: Any) -> str:
    return str(model.config.get_text_config()._attn_implementation)


def _tolerance(model: Any) -> float:
    return TOLERANCE if model.dtype == torch.float32 else 0.1


_IN_WORDS = {Reading.CHUNKS: "row after row", Reading.TOKENS: "a token at a time"}


def _has_windows(model: Any) -> bool:
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ())
    return getattr(config, "sliding_window", None) is not None or bool(kinds - {"full_attention"})


@torch.no_grad()
def _difference(model: Any, make_memory: Callable[[Any], Memory]) -> float:
    """The largest relative difference between hidden states and logits read in pieces and those of a plain forward."""
    training = model.training
    model.eval()
    try:
        expected = [_plain(model, row) for row in ROWS]
        memory, starts, worst = make_memory(model), [0, 0], 0.0
        for sizes in zip(*CHUNKS, strict=True):
            chunks = [row[start : start + size] for row, start, size in zip(ROWS, starts, sizes, strict=True)]
            output = memory.append([0, 1], chunks)
            starts = [start + size for start, size in zip(starts, sizes, strict=True)]
            for place, start in enumerate(starts):
                hidden, logits = (states[start - 1] for states in expected[place])
                worst = max(worst, _relative(output.hidden[place], hidden), _relative(output.logits[place], logits))
        return worst
    finally:
        model.train(training)


def _plain(model: Any, row: list[int]) -> tuple[Tensor, Tensor]:
    """Last hidden states `(tokens, hidden)` and logits `(tokens, vocab)` of a row, without a cache."""
    positions = list(range(len(row)))
    output = model(torch.tensor([row], device=model.device), use_cache=False, retrieval_positions=[positions])
    return output.retrieval_embeddings[0], output.logits[0]


def _relative(actual: Tensor, expected: Tensor) -> float:
    return float((actual.float() - expected.float()).norm() / expected.float().norm().clamp(min=1e-9))
