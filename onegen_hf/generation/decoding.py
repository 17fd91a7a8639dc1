"""`Decoding`: how the rows of one call are decoded; a [`DecodingTask`] defines what they write."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor

from ..modeling.positions import context_length
from ..modeling.token_head import TokenHead
from .choice import TokenSampler
from .memory import StepOutput
from .state import Hit, RowState

Row = TypeVar("Row", bound=RowState)


class Drafts(Protocol):
    """Guesses the next tokens of a row, as [`Drafter`] does."""

    def draft(self, row: Any, rows: int, room: int) -> list[int]:
        """At most `room` tokens for a row that shares the drafts of a forward with others, `rows` in all."""


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

    def query_positions(self, row: Row, draft: Sequence[int]) -> Sequence[int]:
        """Places in `[*row.pending, *draft]` whose hidden states are needed in addition to that of the last token."""
        return ()

    def asks(self, row: Row) -> bool:
        """Whether passages come next: the last token is a query token, and its hidden state is the query."""
        return False

    def retrieve(self, rows: Sequence[Row], embeddings: Tensor) -> list[list[Hit]]:
        """The passages for rows that ask, of this task and of all others with the same `retriever`."""
        raise NotImplementedError

    @property
    def retriever(self) -> object:
        """Tasks with the same one search together."""
        return self

    def insert(self, row: Row, embedding: Tensor, hits: list[Hit]) -> None:
        """Append passages, and keep the embedding, of shape `(hidden,)`, that was searched for."""
        raise NotImplementedError

    def forks(self, row: Row) -> Sequence[Row]:
        """After [`~DecodingTask.insert`]: rows that go on separately from what this row, which has ended, has read."""
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

    def adjusted(self, rows: Sequence[Row], logits: Tensor) -> Tensor:
        """
        The scores that tokens are chosen by; by default the model's.

        Args:
            rows (`Sequence[RowState]`)
            logits (`Tensor` of shape `(rows, vocab)`, float32): May be modified.
        """
        return logits

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

    @property
    def among_few(self) -> bool:
        """Whether rows always choose among a few tokens, those of [`~DecodingTask.allowed`], by the model's logits."""
        return False

    def allowed(self, row: Row) -> Sequence[int] | None:
        """The few tokens one of which comes next; `None` where most may."""
        return None

    def tells(self, row: Row) -> bool:
        """Whether what a row writes and receives is streamed."""
        return True

    def settle(self, row: Row, token: int) -> int:
        """The token to write in place of the chosen one; by default that one."""
        return token

    def stop_reason(self, row: Row, token: int) -> str | None:
        """Why a row ends after the token that it has just written; `None` if it continues."""
        if token in self.end_tokens:
            return "eos"
        return "max_new_tokens" if row.usage.generated_tokens >= self.max_new_tokens else None

    def undoes(self, row: Row) -> bool:
        """Whether the row is about to take back what it wrote; asked after every token."""
        return False

    def take_back(self, row: Row) -> int:
        """
        Called for each row that undoes something, where the memory can be rolled back.

        Returns:
            `int`: How many of the tokens that the row has read are to be removed from the memory. At least one of
            those that remain is pending again.
        """
        raise NotImplementedError

    def proceed(self, row: Row) -> None:
        """Called for each row at the end of a step."""
        if row.stop_reason is None and self.room(row) == 0:
            row.stop_reason = "context_full"


class Decoding(Generic[Row]):
    """
    How the rows of one call are decoded: what they write, and how their tokens are chosen.

    Args:
        task ([`DecodingTask`])
        sampler ([`TokenSampler`])
        drafter ([`Drafts`], *optional*): Guesses tokens that are forwarded together with the pending ones.
        streamer (`BaseStreamer`, *optional*): Receives every token as it is written or inserted.
    """

    def __init__(
        self,
        task: DecodingTask[Row],
        sampler: TokenSampler,
        drafter: Drafts | None = None,
        streamer: Any = None,
    ) -> None:
        self.task = task
        self.sampler = sampler
        self.drafter = drafter
        self.streamer = streamer

    @property
    def among_few(self) -> bool:
        """Whether choices need no more than the logits of a few tokens."""
        return self.task.among_few and self.sampler.takes_the_best

    def stream(self, row: Row, tokens: Sequence[int]) -> None:
        """Hand tokens of a row to the streamer, if there is one."""
        if self.streamer is not None and self.task.tells(row):
            self.streamer.put(torch.tensor(tokens))

    def draft(self, row: Row, rows: int) -> list[int]:
        """
        Guess what a row writes next; nothing if it is about to receive a passage.

        Args:
            row ([`RowState`])
            rows (`int`): Number of rows that share the drafted tokens.
        """
        if self.drafter is None or not self.task.may_draft(row):
            return []
        return self.drafter.draft(row, rows, self._room_to_write(row))

    def advance(
        self, rows: Sequence[Row], drafts: Sequence[list[int]], output: StepOutput, can_rollback: bool = False
    ) -> list[int]:
        """
        Process a forward: let rows write their next tokens.

        Args:
            rows (`Sequence[RowState]`): Of this decoding; their pending tokens and drafts have just been read.
            drafts (`Sequence[list[int]]`): Of each row.
            output ([`StepOutput`]): Of these rows.
            can_rollback (`bool`, *optional*, defaults to `False`): Whether rows may take back what they have read.

        Returns:
            `list[int]`: Number of tokens of each row that the memory holds but the row does not: drafts that were
            rejected, and what the row took back.
        """
        choosing = self.task.read(rows, output)
        if choosing:
            logits = output.logits if len(choosing) == len(rows) else output.logits[choosing]
            self._choose([rows[place] for place in choosing], logits, output.head)
        rejected = [self._judge(*each, output.head) for each in zip(rows, drafts, output.drafted, strict=True)]
        for place, row in enumerate(rows):
            if can_rollback and row.stop_reason is None and self.task.undoes(row):
                rejected[place] += self.task.take_back(row)
            self.task.proceed(row)
        return rejected

    def _choose(self, rows: list[Row], logits: Tensor, head: TokenHead | None) -> None:
        """
        Args:
            logits (`Tensor` of shape `(rows, vocab)`): The last hidden states, if there is a `head`.
        """
        log_probabilities: list[float | None]
        if head is not None:
            allowed = [self.task.allowed(row) or () for row in rows]
            tokens, log_probabilities, scores = head.best(logits, allowed), [None] * len(rows), logits
        else:
            logits = self.task.adjusted(rows, logits)
            tokens, log_probabilities, scores = self.sampler.choose(rows, logits, self.task.banned(rows, logits))
        for row, chosen, log_probability, row_scores in zip(rows, tokens, log_probabilities, scores, strict=True):
            token = self.task.settle(row, chosen)
            row.write(token, log_probability if token == chosen else None)
            self.stream(row, [token])
            row.stop_reason = self.task.stop_reason(row, token)
            if row.stop_reason is None and self.sampler.stops(row, row_scores):
                row.stop_reason = "stopping_criteria"

    def _judge(self, row: Row, draft: list[int], logits: Tensor, head: TokenHead | None) -> int:
        """
        Keep the part of a draft that agrees with the row's own choices.

        Args:
            logits (`Tensor` of shape `(len(draft), vocab)`): After each token of the draft; see [`StepOutput`].

        Returns:
            `int`: Number of rejected tokens.
        """
        accepted = 0
        while (
            accepted < len(draft)
            and row.stop_reason is None
            and row.ids[-1] == draft[accepted]
            and not self.task.undoes(row)
        ):
            row.take_pending()
            self._choose([row], logits[accepted : accepted + 1], head)
            accepted += 1
        rejected = len(draft) - accepted
        row.usage.rejected_tokens += rejected
        return rejected

    def _room_to_write(self, row: Row) -> int:
        """Tokens that may still be written before the final one."""
        left = self.task.max_new_tokens - row.usage.generated_tokens
        room = self.task.room(row)
        return (left if room is None else min(left, room)) - 1
