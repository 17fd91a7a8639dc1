"""`SequentialMemory`: reads row after row, for decoders whose rows can't be packed."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from transformers import DynamicCache

from ...modeling.positions import context_length
from .base import StepOutput, check_room


class SequentialMemory:
    """
    One of the model's native caches and one forward per row. Without padding, it assumes nothing about layers.

    Args:
        model ([`OneGenForCausalLM`])
        rows (`list[int]`)
        chunks (`bool`, *optional*, defaults to `True`): Whether several tokens go through the model in one forward.
            `False` feeds them one by one, for recurrent layers that reset at each chunk.
    """

    can_rollback = False

    def __init__(self, model: Any, rows: list[int], chunks: bool = True) -> None:
        self.model = model
        self.context = context_length(model)
        self.chunks = chunks
        self.caches: dict[int, Any] = {}
        self.lengths = dict.fromkeys(rows, 0)

    def append(
        self,
        rows: list[int],
        chunks: list[list[int]],
        positions: Sequence[Sequence[int]] | None = None,
        drafts: Sequence[int] | None = None,
        among_few: bool = False,
    ) -> StepOutput:
        assert not any(drafts or []), "recurrent states can't be taken back"
        extra = positions or [[]] * len(rows)
        append = self._append_to if self.chunks else self._append_tokens_to
        outputs = [append(*parts) for parts in zip(rows, chunks, extra, strict=True)]
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
        check_room([start + len(chunk)], self.context)
        output = self.model(
            input_ids=torch.tensor([chunk], device=device),
            position_ids=torch.arange(start, start + len(chunk), device=device).unsqueeze(0),
            cache=self.caches[row],
            use_cache=True,
            logits_to_keep=torch.tensor([[last]], device=device),
            retrieval_positions=torch.tensor([[last, *positions]]),
        )
        self.lengths[row] += len(chunk)
        states = output.retrieval_embeddings[0]
        return StepOutput(output.logits[:, -1].float(), states[:1], [states[1:]])

    def _append_tokens_to(self, row: int, chunk: list[int], positions: Sequence[int]) -> StepOutput:
        outputs = [self._append_to(row, [token], ()) for token in chunk]
        states = torch.cat([output.hidden for output in outputs])
        return StepOutput(outputs[-1].logits, outputs[-1].hidden, [states[list(positions)]])

    def fork(self, source: int, row: int) -> None:
        self.caches[row], self.lengths[row] = copy.deepcopy(self.caches[source]), self.lengths[source]

    def retain(self, rows: list[int]) -> None:
        self.caches = {row: cache for row, cache in self.caches.items() if row in rows}
        self.lengths = {row: self.lengths.get(row, 0) for row in rows}
