"""`WithoutGoldDecoder`: one-pass decoding over an index without the passages that hold the answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ..generation import Hit, OnePassDecoder, RowState


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

    def retrieve(self, rows: Sequence[RowState], embeddings: Tensor) -> list[list[Hit]]:
        """See [`OnePassDecoder.retrieve`]."""
        left_out = [self.left_out[row.number] for row in rows]
        # Enough for `k` to remain of every row.
        hits = self.search(embeddings, self.k + max(map(len, left_out), default=0), rows)
        return [
            [hit for hit in row_hits if hit.passage.id not in ids][: self.k]
            for row_hits, ids in zip(hits, left_out, strict=True)
        ]
