"""`GoldPassageDecoder`: one-pass decoding that is handed the right passages, the upper bound of any retrieval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from ..data.passages import Passage
from ..generation import Hit, OnePassDecoder, RowState

_NOT_SEARCHED = -1


class GoldPassageDecoder(OnePassDecoder):
    """
    Inserts the gold passages of every hop, whatever the search says.

    A hop beyond the gold ones, or one without a gold passage, is searched as always.

    Args:
        args, kwargs: As for [`OnePassDecoder`].
        gold (`Sequence[Sequence[Sequence[str]]]`): Row of the batch → hop → ids of its gold passages; the first `k`
            are inserted, with the score 1.0.
        passages_by_id (`Mapping[str, Passage]`): At least all of them.
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
        found = super().retrieve(rows, embeddings)
        for place, row in enumerate(rows):
            hop = len(row.retrievals)
            gold = self.gold[row.number][hop][: self.k] if hop < len(self.gold[row.number]) else ()
            if gold:
                found[place] = [Hit(self.passages_by_id[identifier], 1.0, _NOT_SEARCHED) for identifier in gold]
        return found
