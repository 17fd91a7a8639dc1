"""A pipeline of two services that hand each other text: nothing is kept between the calls."""

from __future__ import annotations

import numpy as np

from .components import Components
from .re_reading import Reading, ReReading, Row


class StatelessPipeline(ReReading):
    """
    The common form of a pipeline: the language model is called anew with the prompt and what was found, so it reads
    all text again, and a separate encoder reads the query.
    """

    def __init__(self, components: Components) -> None:
        super().__init__(components)
        self.encoder = components.encoder
        self.index = self.encoder.index

    def embed(self, rows: list[Row], places: list[int], reading: Reading) -> np.ndarray:
        """See [`ReReading.embed`]."""
        texts = self.tokenizer.batch_decode([[*row.prompt, *row.ids] for row in rows], skip_special_tokens=True)
        return self.encoder.encode(texts)
