"""
Runs inside of vLLM's workers: keeps the hidden state at each query token, and ends the chunk there.

vLLM imports this module for its logits processor before it builds the model. The layer in front of the head is
replaced by one that remembers its input: the final, normalised states of the sampled positions, in the order of the
logits' rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from vllm import SamplingParams
from vllm.distributed import get_tensor_model_parallel_rank
from vllm.model_executor.custom_op import PluggableLayer
from vllm.model_executor.layers.logits_processor import LogitsProcessor as HeadInput
from vllm.v1.sample.logits_processor import BatchUpdate, LogitsProcessor
from vllm.v1.sample.logits_processor.builtin import process_dict_updates

from .state_files import StateFiles

ARGUMENT = "onegen"
"""Key of our settings in `SamplingParams.extra_args`."""
_states: dict[str, Tensor] = {}


@PluggableLayer.register_oot(name="LogitsProcessor")
class StateKeepingHeadInput(HeadInput):
    """Remembers the states of the current step."""

    def forward(self, lm_head: Any, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        _states["rows"] = hidden_states  # (rows of this step, hidden)
        return super().forward(lm_head, hidden_states, *args, **kwargs)


@dataclass
class ChunkSettings:
    """
    What the engine wants of one chunk of a session.

    Attributes:
        directory (`str`): Of [`StateFiles`].
        key (`str`): Name of the state.
        query (`int`): The query token.
        stop (`int`): Written instead of a token of the model, to end the chunk.
        ask (`bool`): Whether the chunk's own last token is a query token.
        ban_after (`int`): Generated tokens of this chunk after which the query token is banned; -1 for from the start.
        threshold (`float`, *optional*): See [`AdaptiveRetrieval`].
    """

    directory: str
    key: str
    query: int
    stop: int
    ask: bool = False
    ban_after: int = 1 << 30
    threshold: float | None = None


@dataclass
class _Row:
    settings: ChunkSettings
    output: list[int]  # vLLM's own list, which grows

    @property
    def asks(self) -> bool:
        """Whether the token that was just fed is a query token."""
        return self.output[-1] == self.settings.query if self.output else self.settings.ask


class QueryStates(LogitsProcessor):
    """
    Ends a chunk at its query token, and lets the query token be chosen where it may be.

    For model runner V1; see [`~onegen_hf.serving.engines.vllm.worker_v2`] for the other one.
    """

    def __init__(self, vllm_config: Any, device: torch.device, is_pin_memory: bool) -> None:
        self.rows: dict[int, _Row] = {}

    def is_argmax_invariant(self) -> bool:
        return False

    def update_state(self, batch_update: BatchUpdate | None) -> None:
        process_dict_updates(self.rows, batch_update, _row_of)

    def apply(self, logits: Tensor) -> Tensor:
        """
        Args:
            logits (`Tensor` of shape `(rows, vocab)`, float32): Before penalties and temperature.
        """
        for place, row in self.rows.items():
            edit(logits, place, row.settings, row.asks, len(row.output))
        return logits


def _row_of(params: SamplingParams, prompt: list[int] | None, output: list[int]) -> _Row | None:
    settings = settings_of(params)
    return None if settings is None else _Row(settings, output)


def settings_of(params: SamplingParams) -> ChunkSettings | None:
    """What the engine sent with a chunk; `None` for a request that is not its own."""
    settings = (params.extra_args or {}).get(ARGUMENT)
    return None if settings is None else ChunkSettings(**settings)


def edit(logits: Tensor, place: int, settings: ChunkSettings, asks: bool, written: int) -> None:
    """
    Let a row write what may come next; its state is kept where it asks.

    Args:
        logits (`Tensor` of shape `(rows, vocab)`, float32): Changed in place.
        place (`int`): Of the row.
        settings ([`ChunkSettings`])
        asks (`bool`): Whether the token that was just fed is a query token that was generated.
        written (`int`): Tokens of this chunk that were generated before.
    """
    if asks:
        _keep(settings, place)
        _force(logits[place], settings.stop)
    elif written > settings.ban_after:
        logits[place, settings.query] = -torch.inf
    elif settings.threshold is not None:
        if float(logits[place].softmax(dim=-1)[settings.query]) > settings.threshold:
            _force(logits[place], settings.query)
        else:
            logits[place, settings.query] = -torch.inf


def _keep(settings: ChunkSettings, place: int) -> None:
    if "rows" not in _states or get_tensor_model_parallel_rank() != 0:
        return  # the engine notices that nothing has come
    state = _states["rows"][place].detach().float().cpu().numpy()
    StateFiles(settings.directory).put(settings.key, state)


def _force(logits: Tensor, token: int) -> None:
    logits.fill_(-torch.inf)
    logits[token] = 0.0
