"""Queries that are cut out of a passage."""

from __future__ import annotations

from collections.abc import Sequence

from data_builders.documents import Document
from data_builders.seeding import pick, seeded_number

SHORTEST_SPAN, LONGEST_SPAN = 5, 12
"""Words of a span: about as many as a question that people write has."""


def title_query(passage: Document, min_words: int, seed: int) -> str | None:
    """The title, of any length: names are short."""
    return passage.title.strip() or None


def sentence_query(passage: Document, min_words: int, seed: int) -> str | None:
    """A sentence that is not the whole passage: the inverse cloze task (arXiv 1906.00300, section 3.2)."""
    sentences = [text for text in passage.sentences if len(text.split()) >= min_words]
    if len(passage.sentences) < 2 or not sentences:
        return None
    return pick(sentences, seed, "sentence", passage.id)


def span_query(passage: Document, min_words: int, seed: int) -> str | None:
    """Neighbouring words of any place: independent cropping (arXiv 2112.09118, section 3.1)."""
    words = passage.text.split()
    longest = min(LONGEST_SPAN, len(words) // 2)
    shortest = max(SHORTEST_SPAN, min_words)
    if longest < shortest:
        return None
    size = pick(range(shortest, longest + 1), seed, "size", passage.id)
    return " ".join(_cut(words, size, seeded_number(seed, "span", passage.id)))


def _cut(words: Sequence[str], size: int, number: int) -> Sequence[str]:
    start = number % (len(words) - size + 1)
    return words[start : start + size]


QUERIES = {"title": title_query, "sentence": sentence_query, "span": span_query}
"""The kinds of queries, each a function of the passage, `min_words` and the seed; `None` where it yields none."""
