"""
Steps in which every row adds one token, recorded as a CUDA graph.

Such a step of a small model launches a thousand kernels that take less time than their launch. A graph launches all of
them at once. Only where the environment variable `ONEGEN_CUDA_GRAPHS` is 1: the tests of graphs have not run on a GPU
yet.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor

from ...modeling.causal_mask import causal_mask
from ...modeling.positions import frequencies_change
from ...modeling.row_attention import IMPLEMENTATIONS, RowGroup, RowsMask
from .cache import RaggedCache

logger = logging.getLogger(__name__)

RECORD_AFTER: int | None = 2 if os.environ.get("ONEGEN_CUDA_GRAPHS") == "1" else None
"""Steps of one shape before one is recorded, which takes about as long as four of them; `None` records nothing."""
MOST_GRAPHS = 4
"""Graphs kept for one cache, each for another number of rows."""
_not_recordable: WeakSet[Any] = WeakSet()


def may_be_recorded(model: Any) -> bool:
    """Whether a model's steps may be recorded: it is on one GPU, and nothing went wrong with it before."""
    return (
        RECORD_AFTER is not None
        and model.device.type == "cuda"
        and torch.version.hip is None
        and len(set((getattr(model, "hf_device_map", None) or {"": 0}).values())) == 1
        and not model.training
        # Flash attention is told by the host how long rows are; routers and changing frequencies wait for the device,
        # which ends a recording in a way that torch's random numbers on the device may not survive.
        and model.config.get_text_config()._attn_implementation in IMPLEMENTATIONS
        and not model.has_router
        and not frequencies_change(model.config.get_text_config())
        and model not in _not_recordable
    )


@dataclass
class RecordedGroup(RowGroup):
    """
    All rows of a recorded step. Where they are is read from the device at each replay, so every row is given all
    positions that the cache has room for, and a mask.

    Args:
        positions (`Tensor` of shape `(rows,)`): Of the tokens that are added.
        capacity (`int`): Positions that the cache has for each row.
    """

    positions: Tensor | None = None
    capacity: int = 0

    @property
    def visible(self) -> int:  # type: ignore[override]
        return self.capacity

    def _mask(self, window: int | None, additive: torch.dtype | None, device: torch.device) -> Tensor:
        assert self.positions is not None
        return causal_mask(self.positions.to(device).unsqueeze(1), self.capacity, window, additive)


class RecordedStep:
    """
    A step of fixed shape over tensors that stay where they are.

    Args:
        model ([`OneGenForCausalLM`])
        cache ([`RaggedCache`]): Its storage must have its final size.
        rows (`int`): They occupy the first slots.
    """

    def __init__(self, model: Any, cache: RaggedCache, rows: int) -> None:
        self.model, self.cache, self.rows = model, cache, rows
        # (2, rows): token ids and positions
        self.inputs = torch.zeros(2, rows, dtype=torch.int64, device=cache.device)
        self.slots = torch.arange(rows, device=cache.device)
        self.storage = cache.storage()
        self.graph: Any = None
        self.output: tuple[Tensor, Tensor] | None = None

    @property
    def is_current(self) -> bool:
        """Whether the cache still has the storage that was recorded."""
        storage = self.cache.storage()
        return len(storage) == len(self.storage) and all(
            new is old for new, old in zip(storage, self.storage, strict=True)
        )

    def run(self) -> tuple[Tensor, Tensor]:
        """Logits of shape `(rows, vocab)` and hidden states of shape `(rows, hidden)`, computed here and now."""
        ids, positions = self.inputs
        group = RecordedGroup(0, [0] * self.rows, 1, positions=positions, capacity=self.cache.capacity)
        with self.cache.written_at(self.slots, positions):
            output, states = self.model._decode(
                None,
                input_ids=ids.unsqueeze(1),
                position_ids=positions.unsqueeze(1),
                attention_mask=RowsMask.of([group], cached=True, device=self.cache.device),
                cache=self.cache,
                use_cache=True,
                logits_to_keep=0,
            )
        return output.logits[:, 0], states.hidden[:, 0]

    def record(self) -> None:
        """
        Record the step, and make sure that its replay computes what it does without.

        Raises:
            `RuntimeError`: If it can't be recorded, or computes something else.
        """
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(2):  # kernels are chosen and workspaces made outside of the graph
                expected = self.run()[0].float()
        torch.cuda.current_stream().wait_stream(stream)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph, capture_error_mode="thread_local"):
            self.output = self.run()
        self.graph.replay()
        difference = (self.output[0].float() - expected).norm()
        if not bool(difference <= 1e-2 * expected.norm()):
            raise RuntimeError("a recorded step differs from the same step without a graph")

    def __call__(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """
        Args:
            inputs (`Tensor` of shape `(2, rows)`): Token ids and their positions.
        """
        self.inputs.copy_(inputs)
        if self.graph is None:
            return self.run()
        assert self.output is not None
        self.graph.replay()
        logits, hidden = self.output
        return logits.clone(), hidden.clone()


class StepRecorder:
    """
    Decides when steps are recorded, and replays them.

    Args:
        model ([`OneGenForCausalLM`])
        cache ([`RaggedCache`])
    """

    def __init__(self, model: Any, cache: RaggedCache) -> None:
        self.model, self.cache = model, cache
        self.steps: dict[int, RecordedStep] = {}
        self._last: tuple[int, int, int] | None = None
        self._equal_steps = 0

    def __call__(self, rows: int, inputs: Tensor) -> tuple[Tensor, Tensor] | None:
        """
        Logits and hidden states of a step, or `None` where it has to be run without a graph.

        Args:
            rows (`int`): They occupy the first slots of the cache and add one token each.
            inputs (`Tensor` of shape `(2, rows)`): Token ids and their positions.
        """
        if not may_be_recorded(self.model):
            return None
        shape = rows, self.cache.slots, self.cache.capacity
        self._equal_steps = self._equal_steps + 1 if shape == self._last else 0
        self._last = shape
        if not self.cache.has_its_size:
            return None  # storage grows and shrinks in an ordinary forward
        self.steps = {count: step for count, step in self.steps.items() if step.is_current}
        if rows in self.steps:
            return self.steps[rows](inputs)
        assert RECORD_AFTER is not None
        if self._equal_steps < RECORD_AFTER:
            return None
        step = RecordedStep(self.model, self.cache, rows)
        step.inputs.copy_(inputs)
        try:
            step.record()
        except Exception as error:  # any model may do what can't be recorded
            logger.info("steps of %s are not recorded (%s)", type(self.model).__name__, error)
            _not_recordable.add(self.model)
            return None
        while len(self.steps) >= MOST_GRAPHS:
            del self.steps[next(iter(self.steps))]
        self.steps[rows] = step
        return step(inputs)
