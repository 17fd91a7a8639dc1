"""Passages by id and by title: from a corpus file, or gathered from the contexts of the records."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from os import PathLike
from typing import Any, NamedTuple

from data_builders.columns import as_text, check_ids_are_known, find_value, sentences_of
from data_builders.errors import ErrorPolicy, RecordError
from data_builders.records import read_records
from data_builders.text_spool import TextSpool

_DIGEST_SIZE = 16


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

    The texts lie in a temporary file, so that millions of passages need little memory; only ids, titles and digests of
    the texts are held.

    Args:
        id_prefix (`str`, *optional*, defaults to `""`):
            Stands in front of the id of every passage, so that several corpora can be trained on together. Passages
            are added under the ids of their source; the documents that the store returns have the prefix.
    """

    def __init__(self, id_prefix: str = "") -> None:
        self.id_prefix = id_prefix
        self._rows: dict[str, int] = {}
        self._ids: list[str] = []
        self._titles: list[str] = []
        self._digests = bytearray()
        self._texts = TextSpool()
        # Nearly every title has one document: a list for each would be most of the memory.
        self._first_of_title: dict[str, int] = {}
        self._more_of_title: dict[str, list[int]] = {}

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
        Add a corpus record with `title`, `sentences` or `text`, and mostly an `id` of its own, under any of the usual
        names (see [`NAMES`]).

        Raises:
            `RecordError`: If a field is missing or malformed, or the id was used before.
        """
        title, text, own_id = (find_value(record, what, None) for what in ("title", "text", "id"))
        sentences = record.get("sentences")
        if title is None or (sentences is None and text is None):
            raise RecordError("malformed_document", "a corpus record needs `title` (text) and `sentences` (texts).")
        parts = [as_text(text, "text")] if sentences is None else sentences_of(sentences)
        if own_id is None:
            check_ids_are_known(record)
            return self.add(as_text(title, "title"), parts)
        return self.put(Document(as_text(own_id, "id"), as_text(title, "title"), clean_sentences(parts)))

    def put(self, document: Document) -> Document:
        """
        Add a document under its own id.

        Args:
            document (`Document`):
                The passage, with the id that its source gives it.

        Returns:
            `Document`: The stored passage, with the prefix in front of its id.

        Raises:
            `RecordError`: If the id was used before.
        """
        if self.prefixed(document.id) in self._rows:
            raise RecordError("duplicate_id", f"the id {document.id!r} was used before; ids must be unique.")
        return self._put(document, _digest(document.sentences))

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
        digest = _digest(clean)
        for row in self._rows_of(title):
            if self._digest_of(row) == digest:
                return Document(self._ids[row], title, clean)
        document_id = title.replace("#", "%23")
        if self.prefixed(document_id) in self._rows:
            text = hashlib.sha256("\n".join((title, *clean)).encode()).hexdigest()
            document_id = f"{document_id} [{text[:12]}]"
        return self._put(Document(document_id, title, clean), digest)

    def prefixed(self, source_id: str) -> str:
        """The id in this store of a passage that its source calls `source_id`."""
        return f"{self.id_prefix}{source_id}"

    def _put(self, document: Document, digest: bytes) -> Document:
        document = document._replace(id=self.prefixed(document.id))
        row = len(self._titles)
        self._rows[document.id] = row
        self._ids.append(document.id)
        self._titles.append(document.title)
        self._digests += digest
        self._texts.append(document.sentences)
        if self._first_of_title.setdefault(document.title, row) != row:
            self._more_of_title.setdefault(document.title, []).append(row)
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
        return self._document(self._find(title, sentences))

    def find_id(self, title: str, sentences: Sequence[str] | None = None) -> str:
        """Look the id of a passage up by its title, as [`~DocumentStore.find`] does, without reading its text."""
        return self._ids[self._find(title, sentences)]

    def _find(self, title: str, sentences: Sequence[str] | None) -> int:
        found = self._rows_of(title)
        if sentences is not None and len(found) > 1:
            digest = _digest(clean_sentences(sentences))
            found = [row for row in found if self._digest_of(row) == digest] or found
        if not found:
            raise RecordError(
                "unknown_title", f"no document is titled {title!r}; add it to the context or the corpus."
            )
        if len(found) > 1:
            raise RecordError(
                "ambiguous_title", f"{len(found)} documents are titled {title!r}; make the corpus titles unique."
            )
        return found[0]

    def _rows_of(self, title: str) -> list[int]:
        first = self._first_of_title.get(title)
        return [] if first is None else [first, *self._more_of_title.get(title, ())]

    def _digest_of(self, row: int) -> bytes:
        return bytes(self._digests[row * _DIGEST_SIZE : (row + 1) * _DIGEST_SIZE])

    def _document(self, row: int) -> Document:
        return Document(self._ids[row], self._titles[row], self._texts[row])

    def __getitem__(self, document_id: str) -> Document:
        return self._document(self._rows[document_id])

    def __contains__(self, document_id: object) -> bool:
        return document_id in self._rows

    def __iter__(self) -> Iterator[Document]:
        return map(self._document, range(len(self)))

    def __len__(self) -> int:
        return len(self._titles)


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
        titles, sentences = context.get("title"), context.get("sentences", context.get("content"))
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


def _digest(sentences: Sequence[str]) -> bytes:
    return hashlib.blake2b("\n".join(sentences).encode(), digest_size=_DIGEST_SIZE).digest()


def _is_text_list(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
