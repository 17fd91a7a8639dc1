"""Passages by id and by title: from a corpus file, or gathered from the contexts of the records."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from os import PathLike
from typing import Any, NamedTuple

from data_builders.errors import ErrorPolicy, RecordError
from data_builders.records import read_records


class Document(NamedTuple):
    """A passage: `id`, `title` and `sentences`."""

    id: str
    title: str
    sentences: tuple[str, ...]

    @property
    def text(self) -> str:
        """The sentences joined by a space."""
        return " ".join(self.sentences)

    def as_record(self) -> dict[str, Any]:
        """Return the passage as a record of the `documents` config."""
        return {"id": self.id, "title": self.title, "sentences": list(self.sentences)}


def clean_sentences(sentences: Sequence[str]) -> tuple[str, ...]:
    """Strip every sentence (HotpotQA's begin with a space) and drop the empty ones."""
    return tuple(stripped for sentence in sentences if (stripped := sentence.strip()))


class DocumentStore:
    """
    Gives out documents by title and makes sure that an id names one text.

    A passage without an id of its own gets its title as id (`#` becomes `%23`, since `doc#3` means a sentence). When
    the same title turns up with another text, that one's id is the title followed by a short hash of the text.
    """

    def __init__(self) -> None:
        self._by_id: dict[str, Document] = {}
        self._by_title: dict[str, list[Document]] = {}

    @classmethod
    def from_corpus(cls, path: str | PathLike[str], policy: ErrorPolicy | None = None) -> DocumentStore:
        """
        Read a corpus file of records `{"id", "title", "sentences"}`; `text` may stand for `sentences`.

        Args:
            path (`str` or `PathLike`):
                JSON lines, or a JSON array.
            policy (`ErrorPolicy`, *optional*):
                What to do with malformed records; by default they raise.

        Returns:
            `DocumentStore`: The filled store.
        """
        store = cls()
        policy = policy or ErrorPolicy()
        for located in read_records(path, policy):
            try:
                store.add_record(located.record)
            except RecordError as error:
                policy.handle(error.at(located.where))
        return store

    def add_record(self, record: Mapping[str, Any]) -> Document:
        """
        Add a corpus record with `title`, `sentences` or `text`, and mostly an `id` of its own.

        Raises:
            `RecordError`: If a field is missing or malformed, or the id was used before.
        """
        title = record.get("title")
        sentences = record.get("sentences", [record["text"]] if isinstance(record.get("text"), str) else None)
        if not isinstance(title, str) or not _is_text_list(sentences):
            raise RecordError("malformed_document", "a corpus record needs `title` (text) and `sentences` (texts).")
        own_id = record.get("id")
        if own_id is None:
            return self.add(title, sentences)
        return self.put(Document(str(own_id), title, clean_sentences(sentences)))

    def put(self, document: Document) -> Document:
        """
        Add a document as it is, under its own id.

        Raises:
            `RecordError`: If the id was used before.
        """
        if document.id in self._by_id:
            raise RecordError("duplicate_id", f"the id {document.id!r} was used before; ids must be unique.")
        return self._put(document)

    def add(self, title: str, sentences: Sequence[str]) -> Document:
        """
        Add a passage that has no id of its own, unless the very same one is there.

        Args:
            title (`str`):
                Its title.
            sentences (`Sequence[str]`):
                Its sentences; they are stripped.

        Returns:
            `Document`: The stored passage.
        """
        clean = clean_sentences(sentences)
        for known in self._by_title.get(title, ()):
            if known.sentences == clean:
                return known
        document_id = title.replace("#", "%23")
        if document_id in self._by_id:
            digest = hashlib.sha256("\n".join((title, *clean)).encode()).hexdigest()
            document_id = f"{document_id} [{digest[:12]}]"
        return self._put(Document(document_id, title, clean))

    def _put(self, document: Document) -> Document:
        self._by_id[document.id] = document
        self._by_title.setdefault(document.title, []).append(document)
        return document

    def find(self, title: str, sentences: Sequence[str] | None = None) -> Document:
        """
        Look a passage up by its title.

        Args:
            title (`str`):
                The title.
            sentences (`Sequence[str]`, *optional*):
                Its text, which tells passages of one title apart.

        Returns:
            `Document`: The passage.

        Raises:
            `ValueError`: If there is none, or several and no text to choose by.
        """
        found = self._by_title.get(title, [])
        if sentences is not None:
            clean = clean_sentences(sentences)
            found = [document for document in found if document.sentences == clean] or found
        if not found:
            raise RecordError(
                "unknown_title", f"no document is titled {title!r}; add it to the context or the corpus."
            )
        if len(found) > 1:
            raise RecordError(
                "ambiguous_title", f"{len(found)} documents are titled {title!r}; make the corpus titles unique."
            )
        return found[0]

    def __getitem__(self, document_id: str) -> Document:
        return self._by_id[document_id]

    def __contains__(self, document_id: object) -> bool:
        return document_id in self._by_id

    def __iter__(self) -> Iterator[Document]:
        return iter(self._by_id.values())

    def __len__(self) -> int:
        return len(self._by_id)


def read_context(record: Mapping[str, Any]) -> list[tuple[str, list[str] | None]]:
    """
    Bring the context of a record to one form, whichever of the three layouts it has.

    Args:
        record (`Mapping[str, Any]`):
            A record with `context` as `[[title, [sentence, ...]], ...]` or as `{"title": [...], "sentences": [[...]]}`
            (HotpotQA's JSON and Parquet layouts), or with `context_titles` (wiki2hop).

    Returns:
        `list[tuple[str, list[str] | None]]`: Titles with their sentences, `None` where only the title is given.

    Raises:
        `ValueError`: If there is no context or it has another form.
    """
    context = record.get("context")
    if context is None:
        titles = record.get("context_titles")
        if titles is None:
            raise RecordError("missing_field", "the field `context` (or `context_titles`) is missing; add it.")
        if not _is_text_list(titles):
            raise RecordError("malformed_field", "`context_titles` must be a list of titles.")
        return [(title, None) for title in titles]
    pairs: Iterable[Any]
    if isinstance(context, Mapping):
        titles, sentences = context.get("title"), context.get("sentences")
        if not isinstance(titles, list) or not isinstance(sentences, list) or len(titles) != len(sentences):
            raise RecordError("malformed_field", "`context` needs `title` and `sentences`, lists of the same length.")
        pairs = zip(titles, sentences, strict=True)
    else:
        pairs = context if isinstance(context, list) else [context]
    passages: list[tuple[str, list[str] | None]] = []
    for pair in pairs:
        if not isinstance(pair, (list, tuple)) or len(pair) != 2:
            raise RecordError("malformed_field", "`context` must hold pairs [title, [sentence, ...]].")
        if not isinstance(pair[0], str) or not _is_text_list(pair[1]):
            raise RecordError("malformed_field", "`context` must hold pairs [title, [sentence, ...]].")
        passages.append((pair[0], list(pair[1])))
    return passages


def _is_text_list(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
