"""`TransformersServingEngine`: the decoding loop of the pipeline, kept running."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch

from ...generation import CritiqueDecoder, CritiqueSettings, OnePassDecoder, RowState
from ...generation.decoding import Decoding
from ...generation.loop import DecodingLoop, Member
from ...generation.memory import StepOutput
from ...modeling.positions import context_length
from ...pipelines import OneGenRagPipeline
from ..limits import ServingLimits
from ..request import GenerationRequest
from .base import Job

FAILED = "failed"
"""Why a row ended whose job has an error."""
DECODERS = 64
"""Different retrieval settings whose decoders are kept: requests with equal ones search together."""


@dataclass(frozen=True, eq=False)
class _Decoded:
    """The prompt's row of a job, how it is decoded, and by what."""

    decoder: OnePassDecoder
    decoding: Decoding[RowState]
    root: RowState

    @property
    def beams(self) -> Sequence[RowState]:
        """See [`RetrievalTask.beams`]."""
        task: Any = self.decoding.task
        beams: Sequence[RowState] = task.beams(self.root)
        return beams

    def result(self) -> RowState:
        """The row of the answer."""
        (row,) = self.decoder.results(self.decoding.task, [self.root])
        return row


class TransformersServingEngine:
    """
    Decodes with a pipeline's model and index. Each result is that of the pipeline, whatever else runs; where the
    limits leave no room for the checkpoint's `readings`, with fewer of them.

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
        positions = self._positions(request, len(prompt["prompt"]))
        readings = self._readings(request, positions)
        decoder = self._decoder(
            request.k, request.max_hops, request.retrieval, request.threshold, request.critique, readings
        )
        options = self.rag._prepare_generate_kwargs(request.sampling_options())
        decoding, (row,) = self.rag.engine.prepare([prompt["prompt"]], decoder, **options)
        row.filter, row.question = request.filter, prompt["question"]  # type: ignore[assignment]
        if request.seed is not None:
            row.generator = torch.Generator(self.rag.model.device).manual_seed(request.seed)
        # Which candidate is the answer is known at the end; until then the row of the job tells of none.
        told = row if request.critique is None else RowState.start(row.number, row.ids)
        rows = request.most_rows if readings == 1 else readings + 1  # the row itself waits for them
        job = Job(request, told, prompt["question"], positions, rows, state=_Decoded(decoder, decoding, row))
        if job.rows > self.limits.batch_size:
            raise ValueError(
                f"critique may decode {job.rows} candidates at a time, but the server decodes "
                f"{self.limits.batch_size} rows together: lower k or width"
            )
        if job.rows * job.positions > self.limits.positions:
            raise ValueError(
                f"the request may take {job.rows * job.positions} positions, but the server has room for "
                f"{self.limits.positions}: shorten the question, or lower max_tokens, max_hops or k"
            )
        return job

    def has_room(self, job: Job) -> bool:
        # Every row has as much storage as the longest.
        jobs = [*self._jobs, job]
        rows, longest = sum(other.rows for other in jobs), max(other.positions for other in jobs)
        return rows <= self.limits.batch_size and rows * longest <= self.limits.positions

    def join(self, job: Job) -> None:
        self._jobs.append(job)
        self._loop.join(job.state.decoding, job.state.root)

    def leave(self, job: Job) -> None:
        self._jobs.remove(job)
        self._stop(job)

    def step(self) -> None:
        with self.rag.device_placement():
            self._loop.step()
        for job in self._jobs:
            if not job.ended and all(row.stop_reason is not None for row in job.state.beams):
                job.row = job.state.result()

    def reset(self) -> None:
        for job in self._jobs:
            self._stop(job)
        self._jobs = []
        self._loop = _FaultTolerantLoop(self.rag.model, self._fail)

    def close(self) -> None:
        self.reset()

    def _stop(self, job: Job) -> None:
        """Decode no more of a job; what was decoded counts."""
        if job.row.stop_reason is not None:
            return
        for row in job.state.beams:
            row.stop_reason = row.stop_reason or "cancelled"
        if job.error is None:
            job.row = job.state.result()

    def _fail(self, member: Member, error: Exception) -> None:
        next(job for job in self._jobs if job.state.decoding is member.decoding).error = error

    def _new_decoder(
        self,
        k: int,
        max_hops: int,
        retrieval: str,
        threshold: float | None,
        critique: CritiqueSettings | None,
        readings: int,
    ) -> OnePassDecoder:
        options: dict[str, Any] = {"retrieval": retrieval, "threshold": threshold, "query_probability": True}
        setup = (self.rag.index, self.rag.tokenizer, self.rag.model.onegen_config, k, max_hops)
        if critique is None:
            return OnePassDecoder(*setup, **options, readings=readings)
        return CritiqueDecoder(*setup, **options, critique=critique)

    def _readings(self, request: GenerationRequest, positions: int) -> int:
        """How often its passages are read: as the checkpoint says, as far as the limits have room for that."""
        settings = self.rag.model.onegen_config
        if request.critique is not None or request.most_retrievals == 0:
            return 1
        wanted = min(request.readings or settings.readings or 1, settings.inserted_sentences or 1)
        rows = min(self.limits.batch_size, self.limits.positions // positions)
        return max(min(wanted, rows - 1), 1)

    def _positions(self, request: GenerationRequest, prompt: int) -> int:
        inserted = self.rag.model.onegen_config.max_inserted_tokens + 2  # with its tags
        passages = request.most_retrievals * request.passages_per_retrieval
        most = prompt + request.max_new_tokens + passages * inserted
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
        if not all(member.row.stop_reason == FAILED for member in members):
            try:
                super()._advance(members, drafts, output)
            except Exception as error:
                self._end(members, error)

    def _end(self, members: list[Member], error: Exception) -> None:
        for member in members:
            member.row.stop_reason = FAILED
            self._fail(member, error)
