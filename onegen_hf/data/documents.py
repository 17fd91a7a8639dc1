"""`Corpus`: passages by position and by id, and the references that examples make to them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from data_builders.columns import as_text, find_column, is_missing

from .passages import Passage


class Corpus(Sequence[Passage]):
    """
    Random access to passages by position and by id.

    Args:
        documents (`Iterable`): `documents` rows (`id`, `title`, `sentences`), `{id, title, text}` mappings, strings or
            [`Passage`]s, as [`Passage.from_record`] reads them; a `datasets.Dataset` is read lazily, a stream at once.

    Raises:
        `TypeError`: For what would be iterated over in pieces: a single text, a mapping, a data frame.
        `ValueError`: If it is empty, a passage has no text, or two passages share an id.
    """

    def __init__(self, documents: Iterable[Passage | Mapping[str, Any] | str]) -> None:
        check_container(documents)
        lazy = hasattr(documents, "column_names") and hasattr(documents, "__len__")
        self._rows: Any
        self._rows = documents if lazy else list(documents)
        if len(self._rows) == 0:
            raise ValueError("documents: the corpus is empty (no passages). Give at least one.")
        column = find_column(self._rows.column_names, "id") if lazy else None
        values = [None] if column is None else list(self._rows[column])
        if any(is_missing(value) for value in values):
            ids = [passage.id for passage in self]
        else:
            ids = [as_text(value, "id") for value in values]
        self._set_ids(ids)

    def _set_ids(self, ids: list[str]) -> None:
        self._position = {identifier: row for row, identifier in enumerate(ids)}
        if len(self._position) != len(ids):
            seen: set[str] = set()
            repeated = next(i for i in ids if i in seen or seen.add(i))  # type: ignore[func-returns-value]
            raise ValueError(f"documents: the id {repeated!r} stands for more than one passage. Make ids unique.")
        self.ids = ids

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, row: Any) -> Any:
        return Passage.from_record(self._rows[row], row)

    def resolve(self, reference: str) -> tuple[int, int | None]:
        """
        Find what a positive or negative refers to.

        Args:
            reference (`str`): `doc`, or `doc#sentence`.

        Returns:
            `tuple[int, int | None]`: Row of the document, and the sentence or `None` for all of it.

        Raises:
            `ValueError`: If there is no such document or sentence.
        """
        row = self._position.get(reference)
        if row is not None:
            return row, None
        document, separator, sentence = reference.rpartition("#")
        row = self._position.get(document)
        if not separator or row is None or not sentence.isdigit():
            raise ValueError(
                f"an example refers to the document {reference!r}, which is not among the {len(self)} documents. "
                "Rebuild examples and documents together, or drop the example."
            )
        if int(sentence) >= max(len(self[row].sentences), 1):
            raise ValueError(f"an example refers to {reference!r}, but that document has fewer sentences")
        return row, int(sentence)


DocumentStore = Corpus
"""The name of [`Corpus`] in earlier releases."""


def check_container(documents: Any, name: str = "passages") -> None:
    """Refuse what holds passages, or is one, and is iterated over in other pieces; see [`Corpus`]."""
    if isinstance(documents, (str, bytes)):
        raise TypeError(f"{name} is a single text: give a list of passages, such as [text]")
    if isinstance(documents, Mapping):
        raise TypeError(
            f"{name} is a mapping with the keys {sorted(map(str, documents))[:8]}: give a list of passages, or one "
            "split of the dataset, such as dataset['train']"
        )
    if not hasattr(documents, "__iter__") and not hasattr(documents, "__getitem__"):
        raise TypeError(
            f"{name}={documents!r} is a {type(documents).__name__}: give a list of passages, such as "
            '[{"id": "a", "title": "...", "text": "..."}]'
        )
    if hasattr(documents, "columns") and hasattr(documents, "dtypes"):
        raise TypeError(
            f"{name} is a {type(documents).__name__}, whose columns would be read as passages: give "
            "`datasets.Dataset.from_pandas(frame)` or `.from_polars(frame)`"
        )


def stable_key(identifier: str) -> int:
    """A 64-bit integer that equals on every process and machine for equal ids, to compare ids inside tensors."""
    return int.from_bytes(hashlib.blake2b(identifier.encode(), digest_size=8).digest(), "little", signed=True)
