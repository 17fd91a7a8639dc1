"""`TextParts`: token ids of the parts of a text between its tags."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .markup import MentionMarkup
from .word_tokens import WordTokens


class TextParts:
    """
    Token ids of the parts of a text between two tags, each tokenized as in training. Parts are asked for again and
    again, by drafts as well: they are kept.

    Args:
        markup ([`MentionMarkup`])
        text (`str`)
    """

    def __init__(self, markup: MentionMarkup, text: str) -> None:
        self.markup = markup
        self.text = text
        self._plain = not markup.reserves(text)
        self._words = WordTokens(text, markup.encode) if self._plain and markup.tokenizes_words_apart else None
        self._kept: dict[tuple[str, int, int, int], list[list[int]]] = {}

    def rest(self, start: int) -> list[int]:
        """Ids from a place to the end of the text."""
        end = len(self.text)
        return self._once(("rest", start, end, end), lambda: self._copied(start, [end]))[0]

    def opened(self, start: int, places: Sequence[int]) -> list[list[int]]:
        """Ids from a place outside of mentions to each of some others, with the tag that opens a mention there."""
        return self._once(("opened", start, places[0], places[-1]), lambda: self._opened(start, places))

    def closed(self, start: int, places: Sequence[int]) -> list[list[int]]:
        """Ids of mentions from a place to each of some others, with the tag that closes them."""
        return self._once(
            ("closed", start, places[0], places[-1]),
            lambda: self.markup.closed_pieces(self._pieces(start, places), self._plain),
        )

    def _opened(self, start: int, places: Sequence[int]) -> list[list[int]]:
        if self.markup.open is None:
            return self.markup.opened_pieces(self._pieces(start, places), self._plain)
        return [[*ids, self.markup.open] for ids in self._copied(start, places)]

    def _copied(self, start: int, places: Sequence[int]) -> list[list[int]]:
        if self._words is not None:
            return self._words.parts(start, places)
        return self.markup.text_pieces(self._pieces(start, places), self._plain)

    def _pieces(self, start: int, places: Sequence[int]) -> list[str]:
        return [self.text[start:place] for place in places]

    def _once(self, key: tuple[str, int, int, int], encode: Callable[[], list[list[int]]]) -> list[list[int]]:
        if key not in self._kept:
            self._kept[key] = encode()
        return self._kept[key]
