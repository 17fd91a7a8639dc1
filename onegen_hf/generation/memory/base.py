"""`Memory`: everything a batch has read so far. Each new token goes through the model exactly once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor

from ...modeling.token_head import TokenHead


@dataclass
class StepOutput:
    """
    Result of appending tokens to some rows.

    Attributes:
        logits (`Tensor` of shape `(rows, vocab)`, float32): After each row's last token before its drafts.
        hidden (`Tensor` of shape `(rows, hidden)`): Last hidden state at that token.
        states (`list[Tensor]`): For each row, of shape `(len(positions), hidden)`: last hidden states at the
            additional positions that were requested.
        drafted (`list[Tensor]`): For each row, of shape `(drafts, vocab)`, float32: the logits after each draft.
        head ([`TokenHead`], *optional*): If it is there, `logits` and `drafted` have not gone through the head: they
            are the last hidden states, of shapes `(rows, hidden)` and `(drafts, hidden)`, for which it chooses.
    """

    logits: Tensor
    hidden: Tensor
    states: list[Tensor]
    drafted: list[Tensor] = field(default_factory=list)
    head: TokenHead | None = None

    def of(self, places: Sequence[int]) -> StepOutput:
        """The result for some of the rows, in the order of their places."""
        if list(places) == list(range(len(self.logits))):
            return self
        states, drafted = ([parts[place] for place in places] for parts in (self.states, self.drafted))
        return StepOutput(self.logits[places], self.hidden[places], states, drafted, self.head)


class Memory(Protocol):
    """
    Keys and values of a batch.

    Attributes:
        can_rollback (`bool`): Whether the last tokens of a row can be removed again; drafts require this.
    """

    can_rollback: bool

    def append(
        self,
        rows: list[int],
        chunks: list[list[int]],
        positions: Sequence[Sequence[int]] | None = None,
        drafts: Sequence[int] | None = None,
        among_few: bool = False,
    ) -> StepOutput:
        """
        Append `chunks[i]` (at least one token) to row `rows[i]`. `positions[i]` are places in that chunk whose hidden
        states are returned in addition to that of its last token. The last `drafts[i]` tokens of a chunk are drafts,
        preceded by at least one other token. `among_few` says that each row chooses among a few tokens only: the
        memory may then leave the head out, see [`StepOutput`].
        """

    def rollback(self, row: int, tokens: int) -> None:
        """Remove the last tokens of a row."""

    def fork(self, source: int, row: int) -> None:
        """Let a new row hold what another row holds, from the next call of [`~Memory.retain`] on."""

    def retain(self, rows: list[int]) -> None:
        """Keep only these rows, best in the order of the following calls. Those that are new hold nothing yet."""


def check_room(lengths: Iterable[int], context: int | None) -> None:
    """
    Raises:
        `ValueError`: If a row is longer than the model's context, beyond which positions are undefined.
    """
    longest = max(lengths, default=0)
    if context is not None and longest > context:
        raise ValueError(f"a row holds {longest} tokens, but the model's context holds {context}: shorten the prompt")
