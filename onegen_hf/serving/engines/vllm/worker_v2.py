"""The logits processor of [`~onegen_hf.serving.engines.vllm.worker`] for vLLM's model runner V2."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from vllm import SamplingParams
from vllm.v1.worker.gpu.sample.logits_processor import LogitsContext, LogitsProcessor, LogitsProcRequestState

from .worker import ChunkSettings, edit, settings_of


class QueryStates(LogitsProcessor):
    """
    Ends a chunk at its query token, and lets the query token be chosen where it may be.

    V2 names a request by its slot and tells which token each row has just read. A session's next chunk is a new
    request to it: everything before the chunk counts as prompt. That a row asks has to be known on the host, where the
    state is handed out, so each step with a row of ours waits once for the device.
    """

    def __init__(self, vllm_config: Any, req_states: LogitsProcRequestState) -> None:
        self.lengths = req_states
        self.settings: dict[int, ChunkSettings] = {}

    def add_request(self, req_idx: int, sampling_params: SamplingParams) -> bool:
        settings = settings_of(sampling_params)
        self.settings.pop(req_idx, None)  # of the request that had the slot before
        if settings is not None:
            self.settings[req_idx] = settings
        return settings is not None

    def apply(self, logits: Tensor, ctx: LogitsContext) -> Tensor:
        """
        Args:
            logits (`Tensor` of shape `(rows, vocab)`, float32): Before temperature. Without speculative decoding, each
                request has one row, in the order of the batch.
            ctx (`LogitsContext`): The layout of the batch.
        """
        slots = ctx.idx_mapping_np.tolist()
        if not any(slot in self.settings for slot in slots):
            return logits
        fed, positions = torch.stack([ctx.input_ids[: len(slots)], ctx.pos[: len(slots)]]).tolist()
        for place, slot in enumerate(slots):
            settings = self.settings.get(slot)
            length = positions[place] + 1  # of what the row has read
            if settings is None or length < self.lengths.prefill_len.np[slot]:
                continue  # a prompt that is read in parts: what the row would write is dropped
            written = length - int(self.lengths.prompt_len.np[slot])
            edit(logits, place, settings, fed[place] == settings.query and (written > 0 or settings.ask), written)
        return logits
