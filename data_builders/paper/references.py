"""The paper's references `doc-sent`, and ours `doc#sentence`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from data_builders.documents import Document
from data_builders.errors import RecordError
from data_builders.schema import split_reference


class Documents(Protocol):
    """Documents by id, such as a [`DocumentStore`]."""

    def __contains__(self, document_id: object) -> bool: ...

    def __getitem__(self, document_id: str) -> Document: ...


def document_id(uid: str) -> str:
    """The id of the document with the paper's `uid`: `#`, which marks a sentence, becomes `%23`."""
    return uid.replace("#", "%23")


def document_uid(identifier: str) -> str:
    """Inverse of [`document_id`]."""
    return identifier.replace("%23", "#")


def from_paper(reference: str, documents: Documents) -> str:
    """
    Convert an entry of `positive` or `negative`.

    A reference that is itself a uid names that document, even if it ends like a sentence number; otherwise the part
    after the last `-` is the sentence, so uids may contain `-`. Without a number the paper means the first sentence,
    which is the whole document where there is only one.

    Args:
        reference (`str`): `doc` or `doc-sent`.
        documents (`Documents`): The known documents.

    Returns:
        `str`: `doc` or `doc#sentence`.

    Raises:
        `RecordError`: If there is no such document (`unknown_document`) or sentence (`unknown_sentence`).
    """
    identifier = document_id(reference)
    if identifier in documents:
        return identifier if len(documents[identifier].sentences) == 1 else f"{identifier}#0"
    uid, mark, number = reference.rpartition("-")
    identifier = document_id(uid)
    if not mark or not (number.isascii() and number.isdigit()) or identifier not in documents:
        raise RecordError(
            "unknown_document",
            f'no document has the uid of {reference!r}; add it to the corpus, or pass unknown_references="leave_out".',
        )
    if int(number) >= len(documents[identifier].sentences):
        raise RecordError(
            "unknown_sentence",
            f"{reference!r} names sentence {int(number)}, but that document has "
            f'{len(documents[identifier].sentences)}; mend it, or pass unknown_references="leave_out".',
        )
    return f"{identifier}#{int(number)}"


def known_from_paper(reference: str, documents: Documents) -> str | None:
    """Like [`from_paper`], but `None` for what is not known."""
    try:
        return from_paper(reference, documents)
    except RecordError:
        return None


def to_paper(reference: str, documents: Documents | Mapping[str, Document]) -> str:
    """
    Convert an entry of `positives` or `negatives` back.

    Args:
        reference (`str`): `doc` or `doc#sentence`.
        documents (`Documents`): The known documents.

    Returns:
        `str`: `doc` or `doc-sent`.
    """
    identifier, sentence = split_reference(reference, documents)  # type: ignore[arg-type]
    uid = document_uid(identifier)
    return uid if sentence is None else f"{uid}-{sentence}"
