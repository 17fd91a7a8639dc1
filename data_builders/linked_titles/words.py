"""Words of running text: where they stand, and how a corpus writes them."""

from __future__ import annotations

import re
from collections import Counter
from typing import NamedTuple

# An apostrophe, a point, an ampersand or a hyphen joins letters ("O'Brien", "U.S", "AT&T"), but for a possessive's.
_WORD = re.compile(r"[^\W_]+(?:(?:['’](?!s\b)|[&.-])[^\W_]+)*")
_BEGINS = re.compile(r"(?:^|[.!?:;]['\"’”)\]]*\s+|\n\s*)['\"‘“(\[]*$")
_CALENDAR = frozenset(
    "January February March April May June July August September October November December "
    "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
)
_DEMONYM = re.compile(
    r"(?:\w+(?:[^aeiou]ish|ian|ean|ese|[aeiou]lic?|ican|stani|[iq]i)|french|german|dutch|greek|swiss|thai|welsh|czech|turk"
    r"|scots?|jew|muslim|roman|latin|democrat|christian|catholic|protestant)s?",
    re.IGNORECASE,
)


class Word(NamedTuple):
    """A word of a text; `begins` tells whether it begins a sentence, where a capital means nothing."""

    start: int
    end: int
    text: str
    begins: bool

    @property
    def capitalised(self) -> bool:
        """Whether it has a capital letter anywhere."""
        return not self.text.islower() and any(character.isupper() for character in self.text)


def words_of(text: str) -> list[Word]:
    """The words of a text, in order."""
    return [Word(match.start(), match.end(), match[0], _begins(text, match.start())) for match in _WORD.finditer(text)]


def _begins(text: str, place: int) -> bool:
    return _BEGINS.search(text, max(0, place - 8), place) is not None


class Spelling:
    """How a corpus writes words in the middle of sentences, in small letters or with a capital, alone or in a name."""

    def __init__(self) -> None:
        self._small: Counter[str] = Counter()
        self._capital: Counter[str] = Counter()
        self._alone: Counter[str] = Counter()

    def add(self, text: str) -> None:
        """Count the words of a text."""
        words = words_of(text)
        for number, word in enumerate(words):
            if word.begins:
                continue
            if not word.capitalised:
                self._small[word.text] += 1
                continue
            self._capital[word.text] += 1
            before = words[number - 1] if number else None
            after = words[number + 1] if number + 1 < len(words) else None
            joined = (before is not None and before.capitalised and adjacent(text, before, word)) or (
                after is not None and after.capitalised and adjacent(text, word, after)
            )
            self._alone[word.text] += not joined

    def is_common(self, word: str) -> bool:
        """Whether a word is mostly written in small letters, or a day or a month: no name by itself."""
        return word in _CALENDAR or word == "I" or self._small[word.lower()] > self._capital[word]

    def is_name(self, word: str) -> bool:
        """Whether a word is a name: hardly ever written in small letters, no demonym, not joined with other words."""
        if word in _CALENDAR or is_demonym(word) or any(part.islower() for part in word.split("-")):
            return False
        return self._capital[word] > 0 and self._small[word.lower()] <= 0.05 * self._capital[word]

    def stands_alone(self, word: str) -> bool:
        """Whether a name is mostly one by itself, unlike surnames and parts of longer names."""
        return self._capital[word] >= 3 and self._alone[word] >= 0.6 * self._capital[word]

    def is_frequent_name(self, word: str) -> bool:
        """Whether a word is so often a name by itself that it is one wherever it stands alone; initials are not."""
        return self._capital[word] >= 10 and not word.isupper() and self.is_name(word) and self.stands_alone(word)


def is_demonym(word: str) -> bool:
    """Whether a word looks like that for a people, a language or what belongs to a country."""
    return _DEMONYM.fullmatch(word) is not None


def adjacent(text: str, left: Word, right: Word) -> bool:
    """Whether nothing but a space or a hyphen stands between two words, or the point of an initial."""
    between = text[left.end : right.start]
    return between in (" ", "-") or (between == ". " and len(left.text) == 1)
