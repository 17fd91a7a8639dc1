"""Bringing an index up to date: passages added, replaced and removed by id, without encoding the others again."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from transformers import PreTrainedTokenizerBase

from ..data.documents import DocumentStore
from ..data.passages import Passage
from .backends.faiss import MISSING
from .backends.faiss_rearrange import rearrange
from .encode import Corpus, as_document_store, encode_passages
from .passage_table import IDS

logger = logging.getLogger(__name__)

_NAMED = 5


class IndexUpdateMixin:
    """
    What changes the passages of a [`PassageIndex`].

    Both methods change the index in memory, also one that is mapped from a file; `save` puts it in place of the one on
    disk, in one step. Clusters (IVF) and codebooks (PQ) stay those of the first build: when most of a corpus has
    changed, build the index again.
    """

    passages: Sequence[Passage]
    _faiss: Any
    _starts: np.ndarray
    _most_rows: int

    def check_model(self, model: Any, tokenizer: PreTrainedTokenizerBase) -> None:
        """See [`PassageIndex.check_model`]."""
        raise NotImplementedError

    def update(
        self,
        model: Any,
        tokenizer: PreTrainedTokenizerBase,
        passages: Corpus,
        batch_size: int = 32,
        show_progress: bool = True,
        **encode_kwargs: Any,
    ) -> Any:
        """
        Add passages, and replace those whose id is there already. Only new and changed ones are encoded.

        Not to be called while another thread searches the index.

        Args:
            model (`OneGenForCausalLM`): The one that made the index.
            tokenizer (`PreTrainedTokenizerBase`)
            passages (`Iterable` or `datasets.Dataset`): As for [`~PassageIndex.build`], each with an id. A replaced
                passage keeps its place, a new one goes to the end.
            batch_size (`int`, *optional*, defaults to 32)
            show_progress (`bool`, *optional*, defaults to `True`)
            encode_kwargs: Further arguments of [`encode_passages`].

        Returns:
            [`PassageIndex`]: This index.

        Raises:
            `ValueError`: If a passage has no id or no text, two share an id, the model is another one than that of
                the index, or its FAISS factory does not allow changes. The index is then as before.

        Example:

        ```python
        >>> index.update(model, tokenizer, [{"id": "rome", "title": "Rome", "text": "Capital of Italy since 1871."}])
        >>> index.remove(["paris"])
        >>> index.save("my-index")
        ```
        """
        self.check_model(model, tokenizer)
        store = _with_ids(passages)
        found = pc.index_in(pa.array(store.ids, IDS), value_set=passage_ids(self.passages)).fill_null(MISSING)
        differs = [at == MISSING or self.passages[at] != p for p, at in zip(store, found.to_numpy(), strict=True)]
        changed = [store[int(number)] for number in np.flatnonzero(differs)]
        if not changed:
            logger.info("nothing to update: all %d passages stand in the index as they are", len(store))
            return self
        encoded = encode_passages(
            model, tokenizer, changed, batch_size=batch_size, show_progress=show_progress, **encode_kwargs
        )
        numbers = np.arange(len(self.passages))
        new = len(self.passages) + np.arange(len(changed))
        places = found.to_numpy()[differs]
        replaced = places != MISSING
        numbers[places[replaced]] = new[replaced]
        counts = np.bincount(encoded.owners, minlength=len(changed))
        self._take(np.concatenate([numbers, new[~replaced]]), changed, counts, encoded.embeddings)
        return self

    def remove(self, ids: Iterable[str]) -> Any:
        """
        Remove passages. No model is needed. Not to be called while another thread searches the index.

        Args:
            ids (`Iterable[str]`)

        Returns:
            [`PassageIndex`]: This index.

        Raises:
            `TypeError`: If `ids` is a single string.
            `ValueError`: If the index lacks one of them, no passage would be left, or its FAISS factory does not allow
                changes. The index is then as before.
        """
        if isinstance(ids, str):
            raise TypeError(f"ids={ids!r} is a single string: give a list of ids, such as [{ids!r}]")
        unwanted, present = set(ids), passage_ids(self.passages)
        named = pa.array([identifier for identifier in unwanted if isinstance(identifier, str)], IDS)
        goes = pc.is_in(present, value_set=named)
        unknown = sorted(map(str, unwanted.difference(present.filter(goes).to_pylist())))
        if unknown:
            more = f" and {len(unknown) - _NAMED} more" if len(unknown) > _NAMED else ""
            raise ValueError(
                f"ids: the index has no passage {', '.join(map(repr, unknown[:_NAMED]))}{more}. Leave out what is not "
                "there."
            )
        if len(unwanted) == len(present):
            raise ValueError(f"ids: all {len(present)} passages would go, and an index needs at least one")
        if unwanted:
            kept = np.flatnonzero(~goes.to_numpy(zero_copy_only=False))
            self._take(kept, [], np.empty(0, np.int64), np.empty((0, self._faiss.d), np.float32))
        return self

    def _take(self, numbers: np.ndarray, new: list[Passage], new_counts: np.ndarray, embeddings: np.ndarray) -> None:
        """Consist of these passages from now on, numbered through the present ones and then the new ones."""
        old = len(self.passages)
        counts = np.concatenate([np.diff(self._starts), new_counts])
        # The present row of each row wanted; rows of new passages stand after all present ones.
        first = np.concatenate([[0], np.cumsum(counts)[:-1]])
        lengths = counts[numbers]
        offsets = np.arange(int(lengths.sum())) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        rows = np.repeat(first[numbers], lengths) + offsets
        is_new = rows >= self._starts[-1]
        ordered = embeddings[rows[is_new] - self._starts[-1]]
        changed = rearrange(self._faiss, np.where(is_new, MISSING, rows), ordered)
        passages = self.passages if isinstance(self.passages, UpdatedPassages) else UpdatedPassages(self.passages)
        self.passages, self._faiss = passages.take(numbers, new), changed
        self._starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])
        self._most_rows = int(lengths.max())
        logger.info("the index went from %d to %d passages", old, len(self.passages))


class UpdatedPassages(Sequence[Passage]):
    """
    Passages of which some have gone, some have changed and some have come; those that stayed are not copied.

    Args:
        base (`Sequence[Passage]`)
    """

    def __init__(self, base: Sequence[Passage]) -> None:
        self._base = base
        self._added: list[Passage] = []
        self._numbers = np.arange(len(base))  # of the base's passages, then of the added ones

    def take(self, numbers: np.ndarray, new: Sequence[Passage]) -> UpdatedPassages:
        """
        Args:
            numbers (`np.ndarray` of shape `(n_passages,)`): Which of the present passages and, counted after them, of
                `new`.
            new (`Sequence[Passage]`)
        """
        taken = UpdatedPassages(self._base)
        taken._added = [*self._added, *new]
        start = len(self._base) + len(self._added)
        taken._numbers = np.concatenate([self._numbers, start + np.arange(len(new))])[numbers]
        return taken

    @property
    def ids(self) -> pa.Array:
        """The ids, in order."""
        return pa.concat_arrays([passage_ids(self._base), passage_ids(self._added)]).take(pa.array(self._numbers))

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, row: Any) -> Any:
        if not 0 <= row < len(self):
            raise IndexError(f"passage {row} of {len(self)}")
        number = int(self._numbers[row])
        return self._base[number] if number < len(self._base) else self._added[number - len(self._base)]


def passage_ids(passages: Sequence[Passage]) -> pa.Array:
    """The ids of passages; a store or a table tells them without reading the passages."""
    ids = getattr(passages, "ids", None)
    if isinstance(ids, pa.Array):
        return ids
    return pa.array([passage.id for passage in passages] if ids is None else ids, IDS)


def _with_ids(passages: Any) -> DocumentStore:
    """Raises `ValueError` if a passage has no id: its number would replace an unrelated passage."""
    columns = getattr(passages, "column_names", None)
    if columns is not None and "id" not in columns:
        raise ValueError(f"passages: the dataset has no column 'id' (its columns are {sorted(columns)}): add it")
    if columns is None and not isinstance(passages, (str, bytes, dict, DocumentStore)):
        passages = list(passages)
        for number, record in enumerate(passages):
            if isinstance(record, str) or (isinstance(record, dict) and record.get("id") is None):
                raise ValueError(
                    f"passage {number} has no id, which says what to replace: give {{'id': ..., 'text': ...}}"
                )
    return as_document_store(passages)
