"""`WordTokens`: token ids of any part of a text, from those of its words."""

from __future__ import annotations

import json
import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from itertools import chain, pairwise

from transformers import PreTrainedTokenizerBase

_CUT = re.compile(r"(?<=\S) (?=\S)")
_SPLITTERS = frozenset({"ByteLevel", "Digits", "Punctuation", "Sequence", "Split"})
"""Pre-tokenizers that look at no more than the characters around a place to decide whether to split there."""
_PROBE = "It's 12 o'clock, isn't it?  Ünïcode (e.g. 3,141.59), a-b / \"quoted\" 字 word\n\n next\tone 's ."

Encode = Callable[[Sequence[str]], list[list[int]]]


class WordTokens:
    """
    Token ids of any part of a text: words are tokenized once, and at most the first and the last of a part anew. For
    tokenizers that [`tokenizes_words_apart`].

    Args:
        text (`str`)
        encode (`Callable[[Sequence[str]], list[list[int]]]`): Ids of each of some strings.
    """

    def __init__(self, text: str, encode: Encode) -> None:
        self.text = text
        self.encode = encode
        # A word begins with the space before it.
        self._begins = [match.start() for match in _CUT.finditer(text)]
        edges = [0, *self._begins, len(text)]
        self._words = encode([text[start:end] for start, end in pairwise(edges)])[1:]

    def parts(self, start: int, places: Sequence[int]) -> list[list[int]]:
        """
        The ids of the parts of the text from one place to each of some others.

        Args:
            start (`int`)
            places (`Sequence[int]`): At or after `start`.
        """
        first = bisect_right(self._begins, start)
        # The word that a part ends in: at least one of its letters is in the part.
        lasts = [bisect_left(self._begins, place - 1) for place in places]
        ends = [
            self.text[self._begins[last - 1] if last > first else start : place]
            for place, last in zip(places, lasts, strict=True)
        ]
        opening = self.text[start : self._begins[first]] if any(last > first for last in lasts) else ""
        before, *encoded = self.encode([opening, *ends])
        return [
            [*before, *chain.from_iterable(self._words[first : last - 1]), *ids] if last > first else ids
            for last, ids in zip(lasts, encoded, strict=True)
        ]


def tokenizes_words_apart(tokenizer: PreTrainedTokenizerBase) -> bool:
    """
    Whether a tokenizer splits a text before the space of each word, whatever surrounds it, and tokenizes each by
    itself, as byte-level ones do. Those that normalize texts or put anything before them are not among these.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or backend.normalizer is not None or backend.pre_tokenizer is None:
        return False
    if getattr(backend.model, "dropout", None):
        return False
    if not _types(json.loads(backend.pre_tokenizer.__getstate__())) <= _SPLITTERS:
        return False
    begins = {start for _, (start, _) in backend.pre_tokenizer.pre_tokenize_str(_PROBE)}
    return begins.issuperset(match.start() for match in _CUT.finditer(_PROBE))


def _types(state: dict[str, object]) -> set[str]:
    """The types of a pre-tokenizer and of those that it consists of."""
    parts = state.get("pretokenizers", [])
    assert isinstance(parts, list)
    return {str(state["type"]), *chain.from_iterable(map(_types, parts))}
