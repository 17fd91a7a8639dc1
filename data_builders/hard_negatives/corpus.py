"""The documents of a built corpus by row and by reference."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from data_builders.documents import Document, DocumentStore
from data_builders.schema import split_reference


class Corpus:
    """
    Numbers the documents without holding their texts.

    Args:
        documents (`DocumentStore` or `Sequence[Mapping]`):
            The store, or rows of the `documents` config (a `datasets.Dataset` is read lazily).

    Raises:
        `ValueError`: If there is none.
    """

    def __init__(self, documents: DocumentStore | Sequence[Mapping[str, Any]]) -> None:
        self._documents = documents
        self.ids = [document.id for document in self]
        if not self.ids:
            raise ValueError("`documents` is empty; negatives are mined from the documents of the built corpus.")
        self._rows = {document_id: row for row, document_id in enumerate(self.ids)}

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[Document]:
        for record in self._documents:
            yield record if isinstance(record, Document) else _document(record)

    def __getitem__(self, row: int) -> Document:
        if isinstance(self._documents, DocumentStore):
            return self._documents[self.ids[row]]
        return _document(self._documents[row])

    def rows(self, references: Iterable[str]) -> set[int]:
        """
        Find the documents that `positives` or `negatives` name, as wholes or by a sentence.

        Raises:
            `ValueError`: If one is unknown.
        """
        found = set()
        for reference in references:
            document_id, _ = split_reference(reference, self._rows)
            if document_id not in self._rows:
                raise ValueError(f"unknown document id {reference!r}; mine over the documents of the same build.")
            found.add(self._rows[document_id])
        return found


def passage_text(document: Document) -> str:
    """A document as it is searched: its title, then its text."""
    return f"{document.title}\n{document.text}".strip()


def _document(record: Mapping[str, Any]) -> Document:
    return Document(str(record["id"]), record["title"], tuple(record["sentences"]))
