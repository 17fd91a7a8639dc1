"""What pipelines and two passes have in common: the query is embedded apart from the generation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from onegen_hf.evaluation.gold_decoder import GoldPassageDecoder
from onegen_hf.generation import Hit, OnePassDecoder, RowState

from .one_pass import OnePass


class SeparateQueries(OnePass):
    """
    Decodes like [`OnePass`], with the same loop and one cache over all hops; only the query embeddings are computed
    by [`~SeparateQueries.embed`]. So nothing but that second reading of the query makes a difference.
    """

    def embed(self, queries: list[list[int]]) -> Any:
        """
        Args:
            queries (`list[list[int]]`): All that each row has read and written so far, the query token last.

        Returns:
            `Tensor` or `np.ndarray` of shape `(queries, dimension)`
        """
        raise NotImplementedError

    def decoder(self, **options: Any) -> OnePassDecoder:
        """See [`OnePass.decoder`]."""
        return _SeparateQueryDecoder(embed=self.embed, **options)


class _SeparateQueryDecoder(GoldPassageDecoder):
    def __init__(self, embed: Callable[[list[list[int]]], Any], **options: Any) -> None:
        super().__init__(**options)
        self.embed = embed

    def retrieve(self, rows: Sequence[RowState], embeddings: Tensor) -> list[list[Hit]]:
        return super().retrieve(rows, self.embed([row.ids for row in rows]))
