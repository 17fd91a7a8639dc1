"""The part of a passage that a query asks about, chosen by the words that both share."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace

from data_builders.single_hop.sentences import split_sentences

from .passages import Passage

_WORD = re.compile(r"\w+")
_SHORT = 3
"""Words of so few letters mostly say nothing about a subject: "the", "in", "who", "did"."""


def shortened(passages: Sequence[Passage], query: str, count: int | None) -> Sequence[Passage]:
    """
    Passages as they are inserted for a query.

    Args:
        passages (`Sequence[Passage]`)
        query (`str`)
        count (`int`, *optional*): See [`best_sentences`]; `None` or 0 leaves passages whole.
    """
    return [best_sentences(passage, query, count) for passage in passages] if count else passages


def shortened_text(text: str, query: str, count: int | None) -> str:
    """
    The text of a passage as it is inserted for a query; see [`shortened`].

    Args:
        text (`str`): The title and, on the next line, the text, as builders write them into conversations; or a text
            without a title on one line.
        query (`str`)
        count (`int`, *optional*)
    """
    if not count:
        return text
    title, newline, body = text.partition("\n")
    if not newline:
        title, body = "", text
    return title + newline + best_sentences(Passage("", title, body), query, count).text


def best_sentences(passage: Passage, query: str, count: int) -> Passage:
    """
    A passage with only those of its sentences that share the most words with a query, in their order.

    A small model reads a few sentences better than a paragraph, and faster. Words count as in BM25, with the passage's
    own sentences as the corpus: one that stands in all of them tells nothing. No index and no second model is needed.

    Args:
        passage ([`Passage`]): With `sentences`, or with a text that is split by its punctuation.
        query (`str`)
        count (`int`): Sentences that stay.

    Returns:
        [`Passage`]: The whole passage if it has no more sentences, or none that shares a word with the query, as in a
        script without spaces.

    Example:

    ```python
    >>> passage = Passage("0", "Tin Boat", "It is a film. Ada Moll directed it. It was shown in Fern Bay.")
    >>> best_sentences(passage, "Who directed Tin Boat?", 1).text
    'Ada Moll directed it.'
    ```
    """
    sentences = passage.sentences or tuple(span.text for span in split_sentences(passage.text))
    if len(sentences) <= count:
        return passage
    asked = _words(query)
    telling = {word for word in asked if len(word) > _SHORT or word.isdigit()} or asked
    shared = [telling & _words(sentence) for sentence in sentences]
    weights = {word: _rarity(sum(word in words for words in shared), len(sentences)) for word in telling}
    scores = [sum(weights[word] for word in sorted(words)) for words in shared]
    if not any(scores):
        return passage
    best = sorted(range(len(sentences)), key=lambda place: (-scores[place], place))[:count]
    chosen = tuple(sentences[place] for place in sorted(best))
    return replace(passage, text=" ".join(chosen), sentences=chosen if passage.sentences else ())


def _words(text: str) -> set[str]:
    return set(_WORD.findall(text.lower()))


def _rarity(holding: int, sentences: int) -> float:
    """Weight of a word that so many of the sentences hold, as in BM25."""
    return math.log1p((sentences - holding + 0.5) / (holding + 0.5))
