"""Two passes of one model: it generates, and reads the query once more to embed it, as GritLM does."""

from __future__ import annotations

from torch import Tensor

from onegen_hf.modeling.embed import embed_rows

from .separate_queries import SeparateQueries


class TwoPass(SeparateQueries):
    """
    All that the model has read and written goes through it again, without the language-model head.

    GritLM's embedding mode attends in both directions and pools, at the same cost. With causal attention and the query
    token at the end, the embedding is that of one pass, and so are the answers.
    """

    def embed(self, queries: list[list[int]]) -> Tensor:
        """See [`SeparateQueries.embed`]."""
        return embed_rows(self.model, queries, [[len(query) - 1] for query in queries])
