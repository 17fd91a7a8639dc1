"""Hard negatives by title: the passages whose titles look most like that of a positive."""

from __future__ import annotations

import numpy as np

from data_builders.documents import DocumentStore

_BLOCK = 1024


class TitleNeighbours:
    """
    Finds the documents with the most similar titles, by TF-IDF over letter n-grams.

    A question mostly names what it asks about, so what a retriever takes for "Safe (2012 film)" is "Safe Haven (film)"
    rather than another passage on the same subject.

    Args:
        store (`DocumentStore`):
            The passages.
        number (`int`):
            How many neighbours each document has; fewer in a smaller store.
    """

    def __init__(self, store: DocumentStore, number: int) -> None:
        if number < 0:
            raise ValueError(f"`number` must not be negative, got {number}.")
        self._ids = [document.id for document in store]
        self._row = {document_id: row for row, document_id in enumerate(self._ids)}
        number = min(number, len(self._ids) - 1)
        self._neighbours = np.empty((len(self._ids), number), np.int64)
        if number <= 0:
            return
        # Here, because it takes seconds that a builder without title negatives need not wait.
        from sklearn.feature_extraction.text import TfidfVectorizer

        grams = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True, dtype=np.float32)
        # A document without a title still needs a row.
        matrix = grams.fit_transform([document.title or document.text[:50] or "-" for document in store])
        for start in range(0, len(self._ids), _BLOCK):
            likeness = (matrix[start : start + _BLOCK] @ matrix.T).toarray()
            rows = np.arange(likeness.shape[0])
            likeness[rows, start + rows] = -1.0  # itself
            # Stable, so that equal titles stand in the order of the store.
            self._neighbours[start : start + _BLOCK] = np.argsort(-likeness, axis=1, kind="stable")[:, :number]

    def __call__(self, document_id: str) -> list[str]:
        """
        The neighbours of a document, the most similar title first.

        Args:
            document_id (`str`):
                An id of the store.

        Returns:
            `list[str]`: Ids.
        """
        return [self._ids[row] for row in self._neighbours[self._row[document_id]]]
