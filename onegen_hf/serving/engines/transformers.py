"""`TransformersServingEngine`: the decoding loop of the pipeline, kept running."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch

from ...generation import OnePassDecoder
from ...generation.loop import DecodingLoop, Member
from ...generation.memory import StepOutput
from ...modeling.positions import context_length
from ...pipelines import OneGenRagPipeline
from ..limits import ServingLimits
from ..request import GenerationRequest
from .base import Job

DECODERS = 64
"""Different retrieval settings whose decoders are kept: requests with equal ones search together."""


class TransformersServingEngine:
    """
    Decodes with a pipeline's model and index. Each result is that of the pipeline, whatever else runs.

    Args:
        rag ([`OneGenRagPipeline`])
        limits ([`ServingLimits`])
        model_name (`str`)
    """

    def __init__(self, rag: OneGenRagPipeline, limits: ServingLimits, model_name: str) -> None:
        self.rag = rag
        self.limits = limits
        self.model_name = model_name
        self.context = context_length(rag.model)
        self.describer = rag.describer
        self._jobs: list[Job] = []
        self._loop = _FaultTolerantLoop(rag.model, self._fail)
        self._decoder = lru_cache(DECODERS)(self._new_decoder)

    def prepare(self, request: GenerationRequest) -> Job:
        prompt = self.rag.preprocess(request.question)
        decoder = self._decoder(request.k, request.max_hops, request.retrieval, request.threshold)
        options = self.rag._prepare_generate_kwargs(request.sampling_options())
        decoding, (row,) = self.rag.engine.prepare([prompt["prompt"]], decoder, **options)
        row.filter = request.filter  # type: ignore[assignment]
        if request.seed is not None:
            row.generator = torch.Generator(self.rag.model.device).manual_seed(request.seed)
        job = Job(request, row, prompt["question"], self._positions(request, len(row.ids)), state=decoding)
        if job.positions > self.limits.positions:
            raise ValueError(
                f"the request may take {job.positions} positions, but the server has room for "
                f"{self.limits.positions}: shorten the question, or lower max_tokens, max_hops or k"
            )
        return job

    def has_room(self, job: Job) -> bool:
        # Every row has as much storage as the longest.
        longest = max([job.positions, *(other.positions for other in self._jobs)])
        rows = len(self._jobs) + 1
        return rows <= self.limits.batch_size and rows * longest <= self.limits.positions

    def join(self, job: Job) -> None:
        self._jobs.append(job)
        self._loop.join(job.state, job.row)

    def leave(self, job: Job) -> None:
        self._jobs.remove(job)
        if not job.ended:
            job.row.stop_reason = "cancelled"

    def step(self) -> None:
        with self.rag.device_placement():
            self._loop.step()

    def reset(self) -> None:
        for job in self._jobs:
            job.row.stop_reason = job.row.stop_reason or "cancelled"
        self._jobs = []
        self._loop = _FaultTolerantLoop(self.rag.model, self._fail)

    def close(self) -> None:
        self.reset()

    def _fail(self, member: Member, error: Exception) -> None:
        next(job for job in self._jobs if job.row is member.row).error = error

    def _new_decoder(self, k: int, max_hops: int, retrieval: str, threshold: float | None) -> OnePassDecoder:
        return OnePassDecoder(
            self.rag.index,
            self.rag.tokenizer,
            self.rag.model.onegen_config,
            k,
            max_hops,
            retrieval=retrieval,
            threshold=threshold,
            query_probability=True,
        )

    def _positions(self, request: GenerationRequest, prompt: int) -> int:
        hops = 0 if request.retrieval == "never" else request.max_hops
        inserted = self.rag.model.onegen_config.max_inserted_tokens + 2  # with its tags
        most = prompt + request.max_new_tokens + hops * request.k * inserted
        return most if self.context is None else min(most, self.context)


class _FaultTolerantLoop(DecodingLoop):
    """A loop in which a call that fails, in its search or its processors, takes no other with it."""

    def __init__(self, model: Any, fail: Any) -> None:
        super().__init__(model)
        self._fail = fail

    def _retrieve_for(self, members: list[Member], embeddings: torch.Tensor) -> None:
        try:
            super()._retrieve_for(members, embeddings)
        except Exception as error:
            self._end(members, error)

    def _advance(self, members: list[Member], drafts: list[list[int]], output: StepOutput) -> None:
        if any(member.row.stop_reason is None for member in members):
            try:
                super()._advance(members, drafts, output)
            except Exception as error:
                self._end(members, error)

    def _end(self, members: list[Member], error: Exception) -> None:
        for member in members:
            member.row.stop_reason = "failed"
            self._fail(member, error)
