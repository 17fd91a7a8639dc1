"""`best_sentences`: the part of a passage that a query asks about, chosen by the words that both share."""

from __future__ import annotations

import math
import re
from dataclasses import replace

from data_builders.single_hop.sentences import split_sentences

from .passages import Passage

_WORD = re.compile(r"\w+")
_SHORT = 3
"""Words of so few letters mostly say nothing about a subject: "the", "in", "who", "did"."""


def best_sentences(passage: Passage, query: str, count: int) -> Passage:
    """
    A passage with only those of its sentences that share the most words with a query, and their neighbours, which say
    what a pronoun stands for.

    A small model reads a few sentences better than a paragraph, and faster. Words count as in BM25, with the passage's
    own sentences as the corpus: one that stands in all of them tells nothing. No index and no second model is needed.

    Args:
        passage ([`Passage`]): With `sentences`, or with a text that is split by its punctuation.
        query (`str`)
        count (`int`): Sentences that stay, each with the one before it and the one after it.

    Returns:
        [`Passage`]: With sentences in their order. The whole passage if none of them shares a word with the query, as
        in a script without spaces.

    Example:

    ```python
    >>> text = "Ada Moll directed it. It was shown in Fern Bay. Critics liked it. It lost money."
    >>> best_sentences(Passage("0", "Tin Boat", text), "Who directed Tin Boat?", 1).text
    'Ada Moll directed it. It was shown in Fern Bay.'
    ```
    """
    sentences = passage.sentences or tuple(span.text for span in split_sentences(passage.text))
    if len(sentences) <= count + 1:
        return passage
    asked = _words(query)
    telling = {word for word in asked if len(word) > _SHORT or word.isdigit()} or asked
    shared = [telling & _words(sentence) for sentence in sentences]
    weights = {word: _rarity(sum(word in words for words in shared), len(sentences)) for word in telling}
    scores = [sum(weights[word] for word in sorted(words)) for words in shared]
    if not any(scores):
        return passage
    best = sorted(range(len(sentences)), key=lambda place: (-scores[place], place))[:count]
    chosen = tuple(
        sentence for place, sentence in enumerate(sentences) if any(abs(place - other) <= 1 for other in best)
    )
    return replace(passage, text=" ".join(chosen), sentences=chosen if passage.sentences else ())


def _words(text: str) -> set[str]:
    return set(_WORD.findall(text.lower()))


def _rarity(holding: int, sentences: int) -> float:
    """Weight of a word that so many of the sentences hold, as in BM25."""
    return math.log1p((sentences - holding + 0.5) / (holding + 0.5))
