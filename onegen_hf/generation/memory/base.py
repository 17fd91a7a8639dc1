"""`Memory`: what a batch has read so far. New tokens go through the model, each exactly once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor


@dataclass
class StepOutput:
    """
    Result of appending tokens to some rows.

    Attributes:
        logits (`Tensor` of shape `(rows, vocab)`, float32): After each row's last token that is no draft.
        hidden (`Tensor` of shape `(rows, hidden)`): Last hidden state at that token.
        states (`list[Tensor]`): For each row, of shape `(len(positions), hidden)`: last hidden states at the further
            positions that were asked for.
        drafted (`list[Tensor]`): For each row, of shape `(drafts, vocab)`, float32: the logits after each draft.
    """

    logits: Tensor
    hidden: Tensor
    states: list[Tensor]
    drafted: list[Tensor] = field(default_factory=list)


class Memory(Protocol):
    """
    Keys and values of a batch.

    Attributes:
        can_rollback (`bool`): Whether the last tokens of a row can be taken back. Without it there are no drafts.
    """

    can_rollback: bool

    def append(
        self,
        rows: list[int],
        chunks: list[list[int]],
        positions: Sequence[Sequence[int]] | None = None,
        drafts: Sequence[int] | None = None,
    ) -> StepOutput:
        """
        Append `chunks[i]` (at least one token) to row `rows[i]`; `positions[i]` are places in that chunk whose hidden
        states are wanted beside that of its last token. The last `drafts[i]` tokens of a chunk are drafts: there is
        another token before them.
        """

    def rollback(self, row: int, tokens: int) -> None:
        """Take the last tokens of a row back."""

    def retain(self, rows: list[int]) -> None:
        """Keep just these rows; the places of all others go to new rows."""


def check_room(lengths: Iterable[int], context: int | None) -> None:
    """
    Raises:
        `ValueError`: If a row is longer than the model's context, where positions are unknown or would change other
            rows.
    """
    longest = max(lengths, default=0)
    if context is not None and longest > context:
        raise ValueError(f"a row holds {longest} tokens, but the model's context holds {context}: shorten the prompt")
