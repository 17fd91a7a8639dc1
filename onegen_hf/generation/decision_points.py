"""`DecisionPoints`: where a row decides whether to retrieve, and how a [`RetrievalPolicy`] takes effect there."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from torch import Tensor

from .policy import Decision, RetrievalPolicy
from .reflection import ReflectionIds
from .state import RowState


class DecisionPoints(ABC):
    """
    Applies a retrieval policy to the tokens that rows choose.

    Args:
        policy ([`RetrievalPolicy`])
        query_token (`int`)
    """

    def __init__(self, policy: RetrievalPolicy, query_token: int) -> None:
        self.policy = policy
        self.query_token = query_token

    @abstractmethod
    def banned(self, rows: Sequence[RowState], rooms: Sequence[int | None], logits: Tensor) -> list[list[int]]:
        """
        The tokens that must not come next; called before every choice.

        Args:
            rows (`Sequence[RowState]`)
            rooms (`Sequence[int | None]`): Free positions of each row's context.
            logits (`Tensor` of shape `(rows, vocab)`, float32): The model's unprocessed logits; must not be modified.
        """

    @abstractmethod
    def settle(self, row: RowState, room: int | None, token: int) -> int:
        """The token to write in place of the chosen one."""


class EveryToken(DecisionPoints):
    """
    For checkpoints without reflection tokens: the query token competes with all other tokens, so every token is a
    decision point. Its probability there is that of the query token.

    Args:
        policy ([`RetrievalPolicy`])
        query_token (`int`)
        ends_line (`Callable`): Whether a token ends a line or the text.
        keep_probability (`bool`): Whether to compute the probability where the policy does not need it.
    """

    def __init__(
        self, policy: RetrievalPolicy, query_token: int, ends_line: Callable[[int], bool], keep_probability: bool
    ) -> None:
        super().__init__(policy, query_token)
        self.ends_line = ends_line
        self.keep_probability = keep_probability or policy.uses_probability
        self._forced: set[int] = set()

    def banned(self, rows: Sequence[RowState], rooms: Sequence[int | None], logits: Tensor) -> list[list[int]]:
        if self.keep_probability:
            probabilities = logits.softmax(dim=-1)[:, self.query_token].tolist()  # (rows,)
            for row, probability in zip(rows, probabilities, strict=True):
                row.query_probability = probability
        decisions = [
            self.policy.next_token(row, room, row.query_probability if self.policy.uses_probability else None)
            for row, room in zip(rows, rooms, strict=True)
        ]
        # By identity: candidates of one question share its number.
        self._forced = {id(row) for row, decision in zip(rows, decisions, strict=True) if decision is Decision.FORCED}
        return [[self.query_token] if decision is Decision.BANNED else [] for decision in decisions]

    def settle(self, row: RowState, room: int | None, token: int) -> int:
        retrieves = id(row) in self._forced or (
            row.retrieval_stopped is None and self.policy.replaces(row, token, self.ends_line)
        )
        settled = self.query_token if retrieves else token
        if self.keep_probability:
            row.decide(row.query_probability, settled == self.query_token)
        return settled


class ReflectionDecisions(DecisionPoints):
    """
    For checkpoints with Self-RAG's reflection tokens (arXiv 2310.11511, section 3.3): a row decides at the first token
    of its answer, and wherever the model chooses one of the tokens that state a decision: `[Retrieval]`,
    `[No Retrieval]`, `[Continue to Use Evidence]`, or the query token itself.

    The probability of a decision is `p([Retrieval]) / (p([Retrieval]) + p([No Retrieval]))`. `[Retrieval]` is always
    followed by the query token, as in training. A row that must not retrieve writes `[No Retrieval]`, or
    `[Continue to Use Evidence]` where the model chose that; no decision follows directly on either.

    Args:
        policy ([`RetrievalPolicy`])
        query_token (`int`)
        ids ([`ReflectionIds`])
    """

    def __init__(self, policy: RetrievalPolicy, query_token: int, ids: ReflectionIds) -> None:
        super().__init__(policy, query_token)
        self.ids = ids
        self.without_retrieval = frozenset({ids.no_retrieve, ids.continue_evidence})
        self.statements = frozenset({ids.retrieve, query_token, *self.without_retrieval})
        self._margins: dict[int, Tensor] = {}

    def banned(self, rows: Sequence[RowState], rooms: Sequence[int | None], logits: Tensor) -> list[list[int]]:
        # Kept on the device: most tokens are no decisions, and reading a number there would wait for it.
        margins = logits[:, self.ids.retrieve] - logits[:, self.ids.no_retrieve]  # (rows,)
        self._margins = {id(row): margin for row, margin in zip(rows, margins, strict=True)}
        return [
            list(self.statements) if row.usage.generated_tokens and row.ids[-1] in self.without_retrieval else []
            for row in rows
        ]

    def settle(self, row: RowState, room: int | None, token: int) -> int:
        if self.asks_next(row):
            return self.query_token
        if not self.is_decision(row, token):
            return token
        probability = float(self._margins[id(row)].sigmoid())
        decision = self.policy.at_decision_point(row, room, probability)
        if decision is Decision.FORCED:
            token = self.ids.retrieve
        elif decision is Decision.BANNED and token not in self.without_retrieval:
            token = self.ids.no_retrieve
        row.decide(probability, token in (self.ids.retrieve, self.query_token))
        return token

    def asks_next(self, row: RowState) -> bool:
        """Whether the next token of a row must be the query token."""
        return row.usage.generated_tokens > 0 and row.ids[-1] == self.ids.retrieve

    def is_decision(self, row: RowState, token: int) -> bool:
        """Whether a row that has chosen a token stands at a decision point."""
        return row.usage.generated_tokens == 0 or token in self.statements
