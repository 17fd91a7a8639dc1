"""`RetrievalTask`: what a row writes that may retrieve, and what is inserted into it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor

from .decision_points import DecisionPoints, EveryToken, ReflectionDecisions
from .decoding import Decoding, DecodingTask
from .memory import StepOutput
from .policy import RetrievalPolicy
from .reflection import ReflectionIds
from .state import Hit, Retrieval, RowState


class Inserting(Protocol):
    """What the task asks of a [`OnePassDecoder`]."""

    tokenizer: Any
    policy: RetrievalPolicy
    reflection: ReflectionIds | None
    query_token: int
    paragraph_close: int
    query_probability: bool

    def retrieve(self, rows: Sequence[RowState], embeddings: Tensor) -> list[list[Hit]]:
        """The passages to insert into each row."""

    def insertion(self, row: RowState, hits: Sequence[Hit]) -> list[int]:
        """Their ids."""


class RetrievalTask(DecodingTask[RowState]):
    """Free text with inserted passages."""

    decoding: Decoding[RowState]

    def __init__(self, decoder: Inserting, model: Any, max_new_tokens: int, end_tokens: Sequence[int]) -> None:
        super().__init__(model, max_new_tokens, end_tokens)
        self.decoder = decoder
        self.policy = decoder.policy
        self.decisions = self._decision_points()
        self._line_ends: dict[int, bool] = {}

    def beams(self, row: RowState) -> Sequence[RowState]:
        """What goes on for a prompt's row: the row itself, or the rows that took its place."""
        return [row]

    def asks(self, row: RowState) -> bool:
        """Whether a row has just written the query token, so that passages come next."""
        return row.ids[-1] == self.decoder.query_token and row.usage.generated_tokens > 0

    def may_draft(self, row: RowState) -> bool:
        return not self.asks(row)

    @property
    def retriever(self) -> Inserting:
        return self.decoder

    def retrieve(self, rows: Sequence[RowState], embeddings: Tensor) -> list[list[Hit]]:
        return self.decoder.retrieve(rows, embeddings)

    def insert(self, row: RowState, embedding: Tensor, hits: list[Hit]) -> None:
        position = len(row.ids) - 1
        tokens = self.decoder.insertion(row, hits)
        tokens = self.policy.fit(row, tokens, self.room(row), self.decoder.paragraph_close)
        retrieval = Retrieval(len(row.retrievals), position, hits, len(tokens), embedding, row.query_probability)
        row.retrievals.append(retrieval)
        row.insert(tokens)
        self.decoding.stream(row, tokens)

    def read(self, rows: Sequence[RowState], output: StepOutput) -> list[int]:
        return [place for place, row in enumerate(rows) if not row.pending]  # others have just received passages

    def banned(self, rows: Sequence[RowState], logits: Tensor) -> list[list[int]]:
        return self.decisions.banned(rows, [self.room(row) for row in rows], logits)

    def settle(self, row: RowState, token: int) -> int:
        return self.decisions.settle(row, self.room(row), token)

    def _decision_points(self) -> DecisionPoints:
        query_token, reflection = self.decoder.query_token, self.decoder.reflection
        if reflection is not None:
            return ReflectionDecisions(self.policy, query_token, reflection)
        return EveryToken(self.policy, query_token, self._ends_line, self.decoder.query_probability)

    def _ends_line(self, token: int) -> bool:
        if token not in self._line_ends:
            text = self.decoder.tokenizer.decode([token])
            self._line_ends[token] = token in self.end_tokens or "\n" in text
        return self._line_ends[token]
