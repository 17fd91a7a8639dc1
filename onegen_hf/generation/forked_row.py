"""`ForkedRow`: a row that goes on from what another one has read and written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Self

from .state import RowState, Usage


@dataclass(eq=False)
class ForkedRow(RowState):
    """
    A row that may fork.

    Attributes:
        inherited (`Usage`): The part of `usage` that belongs to the row from which this one was forked. A fork goes on
            from the keys and values of that row, so it forwards nothing of it.
    """

    inherited: Usage = field(default_factory=Usage)

    def own_usage(self) -> Usage:
        """What this row added to the usage of the row from which it was forked."""
        return Usage(
            0,
            self.usage.generated_tokens - self.inherited.generated_tokens,
            self.usage.retrieved_tokens - self.inherited.retrieved_tokens,
            self.usage.forwarded_tokens,
            0,
            self.usage.rejected_tokens - self.inherited.rejected_tokens,
        )

    def fork(self) -> Self:
        """A row that has read and written the same."""
        return replace(
            self,
            ids=list(self.ids),
            pending=[],
            usage=replace(self.usage, forwarded_tokens=0, forward_calls=0),
            inherited=replace(self.usage),
            retrievals=list(self.retrievals),
            decisions=list(self.decisions),
            log_probabilities=list(self.log_probabilities),
            stop_reason=None,
        )


def total_usage(prompt_tokens: int, rows: Sequence[ForkedRow], forward_calls: int) -> Usage:
    """The usage of all rows of a question together: one prefill, and every suffix once."""
    total = sum((row.own_usage() for row in rows), Usage(prompt_tokens))
    return replace(total, forward_calls=forward_calls)
