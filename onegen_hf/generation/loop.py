"""`DecodingLoop`: the loop shared by all one-pass decoding; a [`DecodingTask`] defines what the rows write."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Generator, Sequence
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from ..modeling.positions import context_length
from .choice import TokenSampler
from .memory import Memory, StepOutput, memory_for
from .prompt_lookup import Drafter
from .state import RowState

Row = TypeVar("Row", bound=RowState)


class DecodingTask(ABC, Generic[Row]):
    """
    Defines what rows write and how the hidden states at their query tokens are used.

    Args:
        model ([`OneGenForCausalLM`])
        max_new_tokens (`int`): Maximum number of tokens that a row writes.
        end_tokens (`Sequence[int]`): Tokens that end a text.
    """

    def __init__(self, model: Any, max_new_tokens: int, end_tokens: Sequence[int]) -> None:
        self.context = context_length(model)
        self.max_new_tokens = max_new_tokens
        self.end_tokens = frozenset(end_tokens)

    def room(self, row: Row) -> int | None:
        """Free positions of the context; `None` where it has no limit."""
        return None if self.context is None else self.context - len(row.ids)

    def admit(self, row: Row) -> None:  # noqa: B027
        """Called before a row's first forward."""

    def query_positions(self, row: Row) -> Sequence[int]:
        """Places in `row.pending` whose hidden states are needed in addition to that of the last token."""
        return ()

    def may_draft(self, row: Row) -> bool:
        """Whether the tokens after `row.pending` may be guessed."""
        return True

    @abstractmethod
    def read(self, rows: Sequence[Row], output: StepOutput) -> list[int]:
        """
        Process the output of a forward.

        Args:
            rows (`Sequence[RowState]`): Their pending tokens have just been read.
            output ([`StepOutput`])

        Returns:
            `list[int]`: Places in `rows` of the rows that choose their next token now.
        """

    @abstractmethod
    def banned(self, rows: Sequence[Row], logits: Tensor) -> Sequence[Sequence[int]] | Tensor:
        """
        The tokens that must not come next.

        Args:
            rows (`Sequence[RowState]`)
            logits (`Tensor` of shape `(rows, vocab)`, float32): The model's unprocessed logits; must not be modified.

        Returns:
            Token ids for each row, or a bool `Tensor` of shape `(rows, vocab)`.
        """

    def settle(self, row: Row, token: int) -> int:
        """The token to write in place of the chosen one; by default that one."""
        return token

    def stop_reason(self, row: Row, token: int) -> str | None:
        """Why a row ends after the token that it has just written; `None` if it continues."""
        if token in self.end_tokens:
            return "eos"
        return "max_new_tokens" if row.usage.generated_tokens >= self.max_new_tokens else None

    def proceed(self, row: Row) -> None:
        """Called for each row at the end of a step."""
        if row.stop_reason is None and self.room(row) == 0:
            row.stop_reason = "context_full"


class DecodingLoop(Generic[Row]):
    """
    Decodes rows together. Each row forwards its prompt, its own tokens and its inserted text exactly once. Rows are
    independent: each result equals decoding the row alone.

    Args:
        model ([`OneGenForCausalLM`])
        task ([`DecodingTask`])
        sampler ([`TokenSampler`])
        drafter ([`Drafter`], *optional*): Guesses tokens that are forwarded together with the pending ones.
        streamer (`BaseStreamer`, *optional*): Receives every token as it is written or inserted.
        max_rows (`int`, *optional*): Rows decoded at a time. Each of the others starts as soon as a row ends
            (continuous batching). By default all rows start together.
    """

    def __init__(
        self,
        model: Any,
        task: DecodingTask[Row],
        sampler: TokenSampler,
        drafter: Drafter | None = None,
        streamer: Any = None,
        max_rows: int | None = None,
    ) -> None:
        self.model = model
        self.task = task
        self.sampler = sampler
        self.drafter = drafter
        self.streamer = streamer
        self.max_rows = max_rows

    def run(self, rows: Sequence[Row]) -> None:
        """Decode rows until all have ended."""
        for _ in self.steps(rows):
            pass

    @torch.no_grad()
    def steps(self, rows: Sequence[Row]) -> Generator[list[Row], None, None]:
        """
        Decode rows one step at a time, in the caller's thread: nothing runs between two steps, and a caller that stops
        asking ends the decoding.

        Args:
            rows (`Sequence[RowState]`)

        Yields:
            `list[RowState]`: The rows that took part in the step, with what they wrote and received in it.
        """
        # Rows with long prompts tend to take more hops. Start them first, so that they don't run alone at the end.
        queue = deque(sorted(rows, key=lambda row: -len(row.ids)))
        active = [self._admit(queue) for _ in range(min(self.max_rows or len(rows), len(rows)))]
        memory = memory_for(self.model, [row.number for row in active])
        while active:
            self._step(memory, active)
            yield active
            if any(row.stop_reason is not None for row in active):
                active = self._without_ended(active, queue)
                memory.retain([row.number for row in active])

    def stream(self, tokens: Sequence[int]) -> None:
        """Hand tokens to the streamer, if there is one."""
        if self.streamer is not None:
            self.streamer.put(torch.tensor(tokens))

    def _admit(self, queue: deque[Row]) -> Row:
        row = queue.popleft()
        self.task.admit(row)
        return row

    def _without_ended(self, active: list[Row], queue: deque[Row]) -> list[Row]:
        """The active rows; rows from the queue take exactly the places of those that ended."""
        remaining = []
        for row in active:
            if row.stop_reason is None:
                remaining.append(row)
            elif queue:
                remaining.append(self._admit(queue))
        return remaining

    def _step(self, memory: Memory, rows: list[Row]) -> None:
        drafts = self._drafts(memory, rows)
        output = memory.append(
            [row.number for row in rows],
            [[*row.pending, *draft] for row, draft in zip(rows, drafts, strict=True)],
            [self.task.query_positions(row) for row in rows],
            [len(draft) for draft in drafts],
        )
        for row, draft in zip(rows, drafts, strict=True):
            row.count_forward(len(draft))
        choosing = self.task.read(rows, output)
        if choosing:
            logits = output.logits if len(choosing) == len(rows) else output.logits[choosing]
            self._choose([rows[place] for place in choosing], logits)
        for row, draft, logits in zip(rows, drafts, output.drafted, strict=True):
            self._judge(memory, row, draft, logits)
        for row in rows:
            self.task.proceed(row)

    def _choose(self, rows: list[Row], logits: Tensor) -> None:
        tokens, scores = self.sampler.choose(rows, logits, self.task.banned(rows, logits))
        for row, chosen, row_scores in zip(rows, tokens, scores, strict=True):
            token = self.task.settle(row, chosen)
            row.write(token)
            self.stream([token])
            row.stop_reason = self.task.stop_reason(row, token)
            if row.stop_reason is None and self.sampler.stops(row, row_scores):
                row.stop_reason = "stopping_criteria"

    def _drafts(self, memory: Memory, rows: list[Row]) -> list[list[int]]:
        """Guesses of what each row writes next; none for rows about to receive a passage."""
        if self.drafter is None or not memory.can_rollback:
            return [[] for _ in rows]
        return [
            self.drafter.draft(row, len(rows), self._room_to_write(row)) if self.task.may_draft(row) else []
            for row in rows
        ]

    def _judge(self, memory: Memory, row: Row, draft: list[int], logits: Tensor) -> None:
        """
        Keep the part of a draft that agrees with the row's own choices.

        Args:
            logits (`Tensor` of shape `(len(draft), vocab)`): After each token of the draft.
        """
        accepted = 0
        while accepted < len(draft) and row.stop_reason is None and row.ids[-1] == draft[accepted]:
            row.pending = []
            self._choose([row], logits[accepted : accepted + 1])
            accepted += 1
        rejected = len(draft) - accepted
        if rejected:
            row.usage.rejected_tokens += rejected
            memory.rollback(row.number, rejected)

    def _room_to_write(self, row: Row) -> int:
        """Tokens that may still be written before the final one."""
        left = self.task.max_new_tokens - row.usage.generated_tokens
        room = self.task.room(row)
        return (left if room is None else min(left, room)) - 1
