"""`RetrievalPolicy`: when a row retrieves, and how much of what it finds is inserted."""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable
from enum import Enum
from typing import Any, ClassVar

from ..checks import choice, integer, number, optional
from .state import RowState

MINIMAL_ROOM = 16
"""A row with fewer free positions stops retrieving: no room for the paragraph tags, a few words and one more token."""
ANSWER_RESERVE = 48
"""Positions that an inserted passage leaves free for the answer, if the context allows it."""


class Decision(Enum):
    """Whether the next token of a row may be the query token."""

    FREE = "free"
    """The model decides."""
    FORCED = "forced"
    """The next token is the query token."""
    BANNED = "banned"
    """The next token is any token but the query token."""


class RetrievalPolicy(ABC):
    """
    Decides for each row, at each of its decision points, whether a retrieval is forced, allowed or banned. Where these
    points are depends on the checkpoint: see [`DecisionPoints`].

    The base class lets the model decide until a row has used up its hops or its context is nearly full. Subclasses
    override [`~RetrievalPolicy.decide`] and, for checkpoints without reflection tokens, [`~RetrievalPolicy.replaces`].
    A subclass listed in [`POLICIES`] becomes a retrieval mode.

    Args:
        max_hops (`int`, *optional*, defaults to 5): Maximum number of retrievals in a row.
    """

    name: ClassVar[str]
    uses_probability: bool = False
    """Whether [`~RetrievalPolicy.decide`] reads the probability of the query token."""

    def __init__(self, max_hops: int = 5) -> None:
        self.max_hops = integer(least=0)("max_hops", max_hops)

    def next_token(self, row: RowState, room: int | None, probability: float | None = None) -> Decision:
        """
        Decide about the next token of a row of a checkpoint without reflection tokens. Once the row can't retrieve any
        more, `row.retrieval_stopped` says why.

        Args:
            row ([`RowState`])
            room (`int`, *optional*): Free positions of the context; `None` where it has no limit.
            probability (`float`, *optional*): Of the query token, by the model's unprocessed logits, if the policy
                uses it.
        """
        return self.decide(row, probability) if self.may_retrieve(row, room) else Decision.BANNED

    def at_decision_point(self, row: RowState, room: int | None, probability: float) -> Decision:
        """
        Decide at a decision point of a checkpoint with reflection tokens; see [`~RetrievalPolicy.next_token`] for the
        arguments. `probability` is that of `[Retrieval]` against `[No Retrieval]`.
        """
        return self.decide(row, probability) if self.may_retrieve(row, room) else Decision.BANNED

    def may_retrieve(self, row: RowState, room: int | None) -> bool:
        """Whether a row can still retrieve; if not, `row.retrieval_stopped` says why."""
        if row.retrieval_stopped is None and room is not None and room < MINIMAL_ROOM:
            row.retrieval_stopped = "context_full"
        if row.retrieval_stopped is None and len(row.retrievals) >= self.max_hops:
            row.retrieval_stopped = "max_hops"
        return row.retrieval_stopped is None

    def decide(self, row: RowState, probability: float | None) -> Decision:
        """The decision for a row that may still retrieve; see [`~RetrievalPolicy.next_token`]."""
        return Decision.FREE

    def replaces(self, row: RowState, token: int, ends_line: Callable[[int], bool]) -> bool:
        """
        Whether the query token replaces a token that a row has chosen.

        Args:
            row ([`RowState`]): Before the token is written; it may still retrieve.
            token (`int`)
            ends_line (`Callable`): Whether a token ends a line or the text.
        """
        return False

    def fit(self, row: RowState, tokens: list[int], room: int | None, close: int) -> list[int]:
        """
        Shorten inserted text so that the answer still fits into the context.

        Args:
            row ([`RowState`])
            tokens (`list[int]`): The retrieved passages with their tags.
            room (`int`, *optional*): Free positions of the context.
            close (`int`): The closing tag, which is kept at the end.
        """
        if room is None or len(tokens) + ANSWER_RESERVE <= room:
            return tokens
        row.retrieval_stopped = "context_full"
        length = max(room - ANSWER_RESERVE, min(room // 2, len(tokens)), 2)
        return tokens if len(tokens) <= length else [*tokens[: length - 1], close]


class AdaptiveRetrieval(RetrievalPolicy):
    """
    The model decides (paper section 3.4).

    Args:
        max_hops (`int`, *optional*, defaults to 5)
        threshold (`float`, *optional*): Retrieve exactly where the probability of a retrieval exceeds this number
            between 0 and 1, whatever the model would choose; Self-RAG (arXiv 2310.11511, section 3.3) calls this
            adaptive retrieval. [`DecisionPoints`] defines places and probability. By default a retrieval is chosen
            like any other token.
    """

    name = "adaptive"

    def __init__(self, max_hops: int = 5, threshold: float | None = None) -> None:
        super().__init__(max_hops)
        self.threshold = optional(number(least=0, most=1))("threshold", threshold)
        self.uses_probability = threshold is not None

    def decide(self, row: RowState, probability: float | None) -> Decision:
        """Forced above the threshold and banned below it; free without one."""
        if self.threshold is None or probability is None:
            return Decision.FREE
        return Decision.FORCED if probability > self.threshold else Decision.BANNED


class AlwaysRetrieval(RetrievalPolicy):
    """
    Every row retrieves. With reflection tokens, at each of its decision points up to `max_hops`. Without them, at
    least once: if the model reaches the end of its first line without retrieving, the query token replaces the line
    end, and afterwards the model decides.

    Args:
        max_hops (`int`, *optional*, defaults to 5): At least 1.
    """

    name = "always"

    def __init__(self, max_hops: int = 5) -> None:
        super().__init__(integer(least=1)("max_hops", max_hops))

    def at_decision_point(self, row: RowState, room: int | None, probability: float) -> Decision:
        """Forced as long as the row can retrieve."""
        return Decision.FORCED if self.may_retrieve(row, room) else Decision.BANNED

    def replaces(self, row: RowState, token: int, ends_line: Callable[[int], bool]) -> bool:
        """At the end of the first line of a row that has not retrieved."""
        return not row.retrievals and ends_line(token)


class NeverRetrieval(RetrievalPolicy):
    """
    No row retrieves: the model answers from what it knows.

    Args:
        max_hops (`int`, *optional*): Ignored.
    """

    name = "never"

    def may_retrieve(self, row: RowState, room: int | None) -> bool:
        """Never."""
        row.retrieval_stopped = "never"
        return False


POLICIES: dict[str, type[RetrievalPolicy]] = {
    policy.name: policy for policy in (AdaptiveRetrieval, AlwaysRetrieval, NeverRetrieval)
}
"""Name of a retrieval mode → class."""


def retrieval_rule(name: str, value: Any) -> str | RetrievalPolicy:
    """A rule of [`~onegen_hf.checks`]: the name of a retrieval mode, or a policy."""
    return value if isinstance(value, RetrievalPolicy) else choice(POLICIES)(name, value)


def make_policy(
    retrieval: str | RetrievalPolicy = "adaptive", max_hops: int = 5, threshold: float | None = None
) -> RetrievalPolicy:
    """
    The policy of a retrieval mode.

    Args:
        retrieval (`str` or [`RetrievalPolicy`], *optional*, defaults to `"adaptive"`): `"always"`, `"adaptive"` or
            `"never"`, or a policy, which is returned unchanged.
        max_hops (`int`, *optional*, defaults to 5)
        threshold (`float`, *optional*): See [`AdaptiveRetrieval`].

    Raises:
        `ValueError`: For an unknown mode, or a threshold with a mode other than `"adaptive"`.
    """
    mode = retrieval_rule("retrieval", retrieval)
    if isinstance(mode, RetrievalPolicy):
        return mode
    if mode == AdaptiveRetrieval.name:
        return AdaptiveRetrieval(max_hops, threshold)
    if threshold is not None:
        raise ValueError(f'threshold={threshold} is for retrieval="adaptive", not for {mode!r}: leave it out')
    return POLICIES[mode](max_hops)
