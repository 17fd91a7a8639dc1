"""Passages that records carry themselves: keep them in the store, find them again, write them into a text."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from data_builders.documents import Document, DocumentStore, clean_sentences
from data_builders.errors import RecordError
from data_builders.rendering import PARAGRAPH_END, PARAGRAPH_START


def keep_passage(store: DocumentStore, title: str, sentences: Sequence[str]) -> Document:
    """
    Put a passage into the store, unless it is there.

    A passage without a title is named after its text, since the store names the others after their titles.

    Args:
        store (`DocumentStore`):
            The store.
        title (`str`):
            The title; may be empty.
        sentences (`Sequence[str]`):
            The text.

    Returns:
        `Document`: The stored passage.

    Raises:
        `RecordError`: If there is no text.
    """
    clean = clean_sentences(sentences)
    if not clean:
        raise RecordError("empty_passage", f"the passage titled {title!r} has no text; add it or drop the passage.")
    if title:
        return store.add(title, clean)
    own_id = _untitled_id(clean)
    stored_id = store.prefixed(own_id)
    return store[stored_id] if stored_id in store else store.put(Document(own_id, "", clean))


def find_passage(store: DocumentStore, title: str, sentences: Sequence[str]) -> Document:
    """
    Find a passage that [`keep_passage`] stored.

    Args:
        store (`DocumentStore`):
            The store.
        title (`str`):
            The title; may be empty.
        sentences (`Sequence[str]`):
            The text.

    Returns:
        `Document`: The passage.

    Raises:
        `RecordError`: If there is none.
    """
    clean = clean_sentences(sentences)
    text = " ".join(clean)
    if title:
        passage = store.find(title, clean)
        # A corpus may cut the text into other sentences, but it must be the text.
        if passage.text == text or passage.text.split() == text.split():
            return passage
    elif (document_id := store.prefixed(_untitled_id(clean))) in store:
        return store[document_id]
    raise RecordError("unknown_passage", f"no document titled {title!r} reads {text[:60]!r}; add it to the corpus.")


def as_paragraph(passage: Document | None, reserved: Sequence[str]) -> str:
    """
    Write a passage the way decoding inserts it: its title, its text on the next line, both between the tags.

    Args:
        passage (`Document`, *optional*):
            The passage; without one the tags stand alone, as when a search finds nothing.
        reserved (`Sequence[str]`):
            Tokens that must not stand in it, besides the tags.

    Returns:
        `str`: `<paragraph>title\\ntext</paragraph>`.

    Raises:
        `RecordError`: If the passage holds a tag or a reserved token.
    """
    text = "" if passage is None else f"{passage.title}\n{passage.text}".strip()
    refuse_reserved(text, (PARAGRAPH_START, PARAGRAPH_END, *reserved))
    return f"{PARAGRAPH_START}{text}{PARAGRAPH_END}"


def refuse_reserved(text: str, reserved: Sequence[str]) -> None:
    """
    Make sure that a text holds no token with a meaning of its own.

    Raises:
        `RecordError`: If it does.
    """
    found = [token for token in reserved if token in text]
    if found:
        raise RecordError(
            "reserved_text", f"the text {text[:60]!r} holds {found[0]!r}; remove it there or rename the token."
        )


def _untitled_id(sentences: Sequence[str]) -> str:
    return f"passage {hashlib.sha256(chr(10).join(sentences).encode()).hexdigest()[:16]}"
