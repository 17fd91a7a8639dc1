"""Search parameters of an approximate index: what they are, and how they are set."""

from __future__ import annotations

from typing import Any

from .backends.faiss import import_faiss


class SearchParametersMixin:
    """What trades speed for accuracy in a [`PassageIndex`]."""

    _faiss: Any

    @property
    def search_parameters(self) -> dict[str, float]:
        """The present values, by the names that [`~PassageIndex.set_search_parameters`] takes; none if exact."""
        return dict(read_parameters(self._faiss))

    def set_search_parameters(self, **parameters: float) -> None:
        """
        Trade speed for accuracy in an approximate index. Saved with the index, except what FAISS does not write:
        `max_codes`, and `ht` of an IVF index.

        Args:
            parameters: `nprobe` (clusters of an IVF index to look into), `efSearch` (candidates in an HNSW graph),
                `quantizer_efSearch` (of the graph over clusters), `k_factor_rf` (how many times more than wanted are
                refined), `ht` (a filter that wants a PQ made without `np`) and `max_codes`, as in FAISS.

        Raises:
            `ValueError`: If this kind of index has no such parameter.

        Example:

        ```python
        >>> index.set_search_parameters(nprobe=64)
        >>> index.search_parameters
        {'nprobe': 64, 'max_codes': 0}
        ```
        """
        space = import_faiss().ParameterSpace()
        for name, value in parameters.items():
            try:
                space.set_index_parameter(self._faiss, name, value)
            except RuntimeError as error:
                raise ValueError(
                    f"{name}={value} is no search parameter of this index ({type(self._faiss).__name__}): nprobe "
                    "belongs to an IVF index, efSearch to an HNSW index, and a Flat index has none"
                ) from error


def read_parameters(index: Any) -> dict[str, float]:
    """
    The search parameters of a FAISS index, those of the indexes that it is made of included.

    Args:
        index (`faiss.Index`)
    """
    faiss = import_faiss()
    index = faiss.downcast_index(index)
    if isinstance(index, faiss.IndexPreTransform):
        return read_parameters(index.index)
    if isinstance(index, faiss.IndexRefine):
        return {**read_parameters(index.base_index), "k_factor_rf": index.k_factor}
    found: dict[str, float] = {}
    if isinstance(index, faiss.IndexHNSW):
        found["efSearch"] = index.hnsw.efSearch
    if isinstance(index, faiss.IndexIVF):
        found |= {"nprobe": index.nprobe, "max_codes": index.max_codes}
        found |= {f"quantizer_{name}": value for name, value in read_parameters(index.quantizer).items()}
    if isinstance(index, (faiss.IndexPQ, faiss.IndexIVFPQ)):
        found["ht"] = index.polysemous_ht
    return found
