"""A pipeline: the language model generates, a separate encoder reads the query."""

from __future__ import annotations

import numpy as np

from .components import Components
from .separate_queries import SeparateQueries


class Pipeline(SeparateQueries):
    """
    The strongest form of it: the encoder is small, and the language model keeps its cache over all hops, which
    pipelines of two services rarely do (see [`StatelessPipeline`]).
    """

    def __init__(self, components: Components) -> None:
        super().__init__(components)
        self.encoder = components.encoder
        self.index = self.encoder.index

    def embed(self, queries: list[list[int]]) -> np.ndarray:
        """See [`SeparateQueries.embed`]."""
        return self.encoder.encode(self.tokenizer.batch_decode(queries, skip_special_tokens=True))
