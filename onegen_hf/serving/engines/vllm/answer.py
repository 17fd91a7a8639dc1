"""`VllmAnswer`: the course of one answer on vLLM, hop by hop."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ....generation import AdaptiveRetrieval, AlwaysRetrieval, OnePassDecoder, Retrieval, RowState
from ....generation.policy import MINIMAL_ROOM
from ....pipelines.rag import last_question
from ...request import GenerationRequest
from .batched_search import BatchedSearch
from .state_files import StateFiles
from .streams import PlainStream, SessionStream, VllmStream

logger = logging.getLogger(__name__)

Update = Callable[[RowState], None]
"""A change of a row, applied by whoever owns it."""


@dataclass(frozen=True)
class Surroundings:
    """
    What all answers share.

    Args:
        engine (`vllm.AsyncLLM`)
        states ([`StateFiles`])
        search ([`BatchedSearch`])
        end_tokens (`Collection[int]`)
        line_ends (`Collection[int]`): Tokens that end a line or the text.
        stop_token (`int`): Ends a chunk; the model never writes it.
        context (`int`, *optional*): Positions of the model's context.
        stall_seconds (`float`): Without a token for so long, a session is given up and its text sent anew.
        projection (`Tensor` of shape `(dim, hidden)`, *optional*): From a hidden state to its embedding.
    """

    engine: Any
    states: StateFiles
    search: BatchedSearch
    end_tokens: frozenset[int]
    line_ends: frozenset[int]
    stop_token: int
    context: int | None
    stall_seconds: float
    projection: torch.Tensor | None = None


class VllmAnswer:
    """
    Decodes one request. The row here is this object's own; each change of it is published, in order.

    Args:
        around ([`Surroundings`])
        name (`str`): Unique among all requests.
        request ([`GenerationRequest`])
        decoder ([`OnePassDecoder`])
        prompt (`Sequence[int]`)
        stops (`Callable`): Whether a stop string ends the row.
        publish (`Callable`): Receives each [`Update`].
    """

    def __init__(
        self,
        around: Surroundings,
        name: str,
        request: GenerationRequest,
        decoder: OnePassDecoder,
        prompt: Sequence[int],
        stops: Callable[[RowState], bool],
        publish: Callable[[Update], None],
    ) -> None:
        self.around = around
        self.name = name
        self.request = request
        self.decoder = decoder
        self.row = RowState.start(0, list(prompt))
        self.row.filter = request.filter  # type: ignore[assignment]
        self.row.question = last_question(request.question)  # type: ignore[arg-type]
        self.stops = stops
        self._publish = publish
        self._stream: VllmStream = SessionStream(around.engine, name)
        self._unsent = list(prompt)

    async def run(self) -> None:
        """Decode to the end."""
        try:
            while self.row.stop_reason is None:
                await self._next_chunk()
        finally:
            await self._stream.close()
            self.around.states.take(self.name)

    @property
    def _room(self) -> int | None:
        return None if self.around.context is None else self.around.context - len(self.row.ids)

    def _apply(self, update: Update) -> None:
        update(self.row)
        self._publish(update)

    async def _next_chunk(self) -> None:
        """Decode until the model asks, or the text ends; a session that stands still is replaced."""
        params = self._params(self._asked())
        ids = self.row.ids if self._stream.reads_again else self._unsent
        await self._stream.send(ids, params)
        self._unsent = []
        unread = len(ids)  # counted when the token after them shows that they were read
        while True:
            try:
                output = await asyncio.wait_for(self._stream.receive(), self.around.stall_seconds)
            except TimeoutError:
                logger.warning("a session of vLLM stands still: its text of %d tokens is sent anew", len(self.row.ids))
                await self._stream.close()
                self._stream = PlainStream(self.around.engine, self.name)
                return
            for place, token in enumerate(output.token_ids):
                self._count_forward(unread)
                unread = 1
                if token == self.around.stop_token and self._asked():
                    await self._insert()
                    return
                if self._always() and token in self.around.line_ends:
                    # vLLM drops the token that ends a chunk: the query token takes its place.
                    self._write(self.decoder.query_token)
                    self._unsent = [self.decoder.query_token]
                    return
                self._write(token, _log_probability(output, place))
                if self.row.stop_reason is not None:
                    return
            if output.finish_reason is not None:
                # The model itself wrote the token that ends chunks; vLLM drops it, so it is sent as a chunk.
                self._unsent = self.row.ids[-1:]
                return

    def _asked(self) -> bool:
        """Whether the last token is a query token."""
        return self.row.ids[-1] == self.decoder.query_token and self.row.usage.generated_tokens > 0

    def _always(self) -> bool:
        return isinstance(self.decoder.policy, AlwaysRetrieval) and not self.row.retrievals and not self._banned()

    def _banned(self) -> bool:
        """Whether nothing more is retrieved; the policy notes why."""
        before = self.row.retrieval_stopped
        self.decoder.policy.next_token(self.row, self._room, 1.0)
        if before != self.row.retrieval_stopped:
            reason = self.row.retrieval_stopped
            self._publish(lambda row: setattr(row, "retrieval_stopped", reason))
        return self.row.retrieval_stopped is not None

    def _params(self, asks: bool) -> Any:
        """Settings of the next chunk."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        request, room = self.request, self._room
        left = request.max_new_tokens - self.row.usage.generated_tokens
        banned = self._banned()
        policy = self.decoder.policy
        settings = {
            "directory": str(self.around.states.directory),
            "key": self.name,
            "query": self.decoder.query_token,
            "stop": self.around.stop_token,
            "ask": asks,
            "ban_after": -1 if banned else (1 << 30 if room is None else room - MINIMAL_ROOM),
            "threshold": policy.threshold if isinstance(policy, AdaptiveRetrieval) else None,
        }
        stops = {*self.around.end_tokens, self.around.stop_token}
        if self._always():
            stops |= self.around.line_ends
        return SamplingParams(
            max_tokens=max(1, left if room is None else min(left, room)),
            temperature=request.temperature,
            top_p=request.top_p if request.temperature > 0 else 1.0,
            logprobs=0,  # of the token that was written alone, by the logits before any processor
            seed=None if request.seed is None else request.seed + len(self.row.ids),
            stop_token_ids=sorted(stops),
            ignore_eos=True,
            detokenize=False,
            output_kind=RequestOutputKind.DELTA,
            extra_args={"onegen": settings},
        )

    def _write(self, token: int, log_probability: float | None = None) -> None:
        def update(row: RowState) -> None:
            row.write(token, log_probability)
            row.pending = []
            known = token == self.decoder.query_token and log_probability is not None
            row.query_probability = math.exp(log_probability) if known else None  # type: ignore[arg-type]

        self._apply(update)
        reason = None
        if token in self.around.end_tokens:
            reason = "eos"
        elif self.row.usage.generated_tokens >= self.request.max_new_tokens:
            reason = "max_new_tokens"
        elif self.stops(self.row):
            reason = "stopping_criteria"
        elif self._room == 0:
            reason = "context_full"
        elif token != self.decoder.query_token:
            self._banned()
        if reason is not None:
            self._apply(lambda row: setattr(row, "stop_reason", reason))

    async def _insert(self) -> None:
        """Search with the state at the query token, and let the passages follow."""
        state = self.around.states.take(self.name)
        if state is None:
            raise RuntimeError("vLLM kept no hidden state for the query token")
        row, decoder = self.row, self.decoder
        embedding = torch.from_numpy(state.copy())
        if self.around.projection is not None:
            embedding = self.around.projection @ embedding
        hits = await self.around.search.search(decoder, row, embedding)
        tokens = decoder.insertion(row, hits)
        before = row.retrieval_stopped
        tokens = decoder.policy.fit(row, tokens, self._room, decoder.paragraph_close)
        stopped = row.retrieval_stopped
        retrieval = Retrieval(
            len(row.retrievals), len(row.ids) - 1, hits, len(tokens), embedding, row.query_probability
        )

        def update(other: RowState) -> None:
            other.retrievals.append(retrieval)
            other.insert(tokens)
            other.pending = []
            if stopped != before:
                other.retrieval_stopped = stopped

        self._apply(update)
        if self._room == 0:
            self._apply(lambda other: setattr(other, "stop_reason", "context_full"))
        self._unsent = tokens

    def _count_forward(self, tokens: int) -> None:
        def update(row: RowState) -> None:
            row.usage.forwarded_tokens += tokens
            row.usage.forward_calls += 1

        self._apply(update)


def _log_probability(output: Any, place: int) -> float | None:
    """Of one of the tokens in a piece of vLLM's output."""
    entry = output.logprobs[place].get(output.token_ids[place]) if output.logprobs else None
    return None if entry is None else float(entry.logprob)
