"""`Retriever`: what decoding and linking need of an index, and all that a stand-in for one must offer."""

from __future__ import annotations

from typing import Any, Protocol

from ..data.passages import Passage


class Retriever(Protocol):
    """
    Finds passages by embedding; [`PassageIndex`] is one.

    A *row* is an embedding. `index[row]` is the passage that it belongs to: with one embedding per passage its number,
    with one per sentence the owner of that sentence.
    """

    def search(self, embeddings: Any, k: int) -> tuple[Any, Any]:
        """
        The nearest rows of each embedding.

        Args:
            embeddings (`Tensor` or `np.ndarray` of shape `(n, hidden)`)
            k (`int`): Number of passages; each counts once, by its best row.

        Returns:
            `tuple`: Scores (float32) and rows (int64), both `(n, k')` with `k' <= k`, best first; row -1 stands for
            "nothing found".

        Where a question has a filter, the call also has the argument `filter` ([`PassageFilter`]); where words count
        as well, `hybrid` (`float`), `texts` (`list[str]`, one for each embedding) and `fusion` (`str`).
        A calibration leaves out gold passages by `without` (`list[set[str]]`, ids for each embedding).
        """

    def __getitem__(self, row: int) -> Passage: ...

    @property
    def num_rows(self) -> int:
        """Number of embeddings."""
