"""`WithoutGoldDecoder`: one-pass decoding over an index without the passages that hold the answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..generation import OnePassDecoder, RowState


class WithoutGoldDecoder(OnePassDecoder):
    """
    Leaves the gold passages of a question out of its search, so that no passage answers it. The index stays as it is.

    Args:
        args, kwargs: As for [`OnePassDecoder`].
        gold (`Sequence[Sequence[Sequence[str]]]`): Row of the batch → hop → ids of its gold passages, all of which are
            left out at every hop.
    """

    def __init__(self, *args: Any, gold: Sequence[Sequence[Sequence[str]]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.left_out = [{identifier for hop in hops for identifier in hop} for hops in gold]

    def search_options(self, rows: Sequence[RowState]) -> dict[str, Any]:
        """See [`OnePassDecoder.search_options`]."""
        return {**super().search_options(rows), "without": [self.left_out[row.number] for row in rows]}
