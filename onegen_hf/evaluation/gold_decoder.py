"""`GoldPassageDecoder`: one-pass decoding with the gold passages, the upper bound for any retrieval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from ..data.passages import Passage
from ..generation import Hit, OnePassDecoder, RowState

_NOT_SEARCHED = -1


class GoldPassageDecoder(OnePassDecoder):
    """
    Inserts the gold passages at every hop, whatever the search returns.

    Hops without gold passages, and hops beyond the gold ones, insert the passages that the search returns.

    Args:
        args, kwargs: As for [`OnePassDecoder`].
        gold (`Sequence[Sequence[Sequence[str]]]`): Row of the batch → hop → ids of its gold passages; the first `k`
            are inserted, with the score 1.0.
        passages_by_id (`Mapping[str, Passage]`): Must contain all gold passages.
    """

    def __init__(
        self,
        *args: Any,
        gold: Sequence[Sequence[Sequence[str]]],
        passages_by_id: Mapping[str, Passage],
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.gold = gold
        self.passages_by_id = passages_by_id

    def retrieve(self, rows: Sequence[RowState], embeddings: Tensor) -> list[list[Hit]]:
        """See [`OnePassDecoder.retrieve`]."""
        hits = super().retrieve(rows, embeddings)
        for place, row in enumerate(rows):
            hop = len(row.retrievals)
            gold = self.gold[row.number][hop][: self.k] if hop < len(self.gold[row.number]) else ()
            if gold:
                hits[place] = [Hit(self.passages_by_id[identifier], 1.0, _NOT_SEARCHED) for identifier in gold]
        return hits
