"""`LikelyMentions`: guesses where a text has mentions, good enough to draft what a model will write."""

from __future__ import annotations

import calendar
import re

from .copying import CopyRule
from .markup import Span

_PRONOUN = r"I(?![\w.])"
_APOSTROPHE = r"['’](?!s\b)(?=\w)"
_CAPITALIZED = (
    rf"(?!{_PRONOUN})[^\W\d_a-zß-öø-ÿ](?:[\w&-]|{_APOSTROPHE})*"
    r"(?:\.(?=\w)\w+)*(?:(?<=\b\w)\.|(?<=\.\w)\.)?"
)
_CONNECTIVE = r"(?:of|de|la|von|van|der|al|du|del|di)"
_NAME = re.compile(rf"{_CAPITALIZED}(?: (?:{_CONNECTIVE} ){{0,2}}{_CAPITALIZED})*")
_FIRST_OF_SEVERAL = re.compile(rf"(?P<first>{_CAPITALIZED}) (?:{_CONNECTIVE} ){{0,2}}")
_LOWER_CASE = re.compile(r"\b[^\W\d_A-Z]+\b")
_MARK = re.compile(r"[^\w ]|$")
_BEFORE_SENTENCE = frozenset(".!?:\n\"'“”‘’([")
_ARTICLES = frozenset({"a", "an", "the"})
_DATES = frozenset({*calendar.day_name, *calendar.month_name})
TRIAL = 4
"""Guesses that are made before their success decides about further ones."""
LEAST_SUCCESS = 0.25
"""Share of the guesses that must have been right for further ones to be made."""


class LikelyMentions:
    """
    The mentions that the letters of a text suggest: runs of capitalized words, with "of" and its like inside of them.
    The first word of a sentence alone only counts if it is capitalized elsewhere as well, alone or as a surname; of
    several it is left out if it is an article, or in lower case elsewhere. "I", a possessive "'s", weekdays and months
    belong to no name.

    What has been marked so far is learned from: names that were marked are expected again, names that were not are
    not, and where most guesses were wrong, as in a language without capital letters, no more are made. A mention that
    goes on after its expected end is expected to take in the next capitalized words, or to end at the next mark.

    Args:
        text (`str`)
    """

    def __init__(self, text: str) -> None:
        self.text = text
        spans = [match.span() for match in _NAME.finditer(text)]
        within = {text[start:end] for start, end in spans if not self._begins_sentence(start)}
        within |= {text[start:end].rpartition(" ")[2] for start, end in spans if " " in text[start:end]}
        common = _ARTICLES.union(_LOWER_CASE.findall(text))
        self._ends = {
            start: end
            for start, end in (self._without_common(*span, common) for span in spans)
            if text[start:end] not in _DATES
            and (not self._begins_sentence(start) or " " in text[start:end] or text[start:end] in within)
        }
        self._learned = 0

    def expected(self, rule: CopyRule) -> dict[int, int]:
        """
        Where mentions are expected from here on.

        Args:
            rule ([`CopyRule`]): Of this text, with what has been marked so far.

        Returns:
            `dict[int, int]`: Start → end, in code points.
        """
        for start, end in rule.spans[self._learned :]:
            name = re.escape(self.text[start:end])
            again = re.compile(rf"(?<!\w){name}(?!\w)").finditer(self.text, end)
            self._ends |= {match.start(): match.end() for match in again}
        self._learned = len(rule.spans)
        # A draft may begin inside of a mention, which is as good as marked.
        marked = {start for start, _ in rule.spans} | {rule.inside}
        passed = [start for start in self._ends if start in marked or rule.has_passed(start)]
        declined = {self._name(start) for start in passed if start not in marked}
        declined -= {self.text[start:end] for start, end in rule.spans}
        if len(passed) >= TRIAL and sum(start in marked for start in passed) < LEAST_SUCCESS * len(passed):
            return {}
        ends = {start: end for start, end in self._ends.items() if self._name(start) not in declined}
        if rule.inside is not None and rule.next_end is not None and ends.get(rule.inside, 0) < rule.next_end:
            ends[rule.inside] = self._later_end(rule.next_end)
        return ends

    def _later_end(self, place: int) -> int:
        """Where a mention may end that goes on to `place` at least: after further capitalized words, or at a mark."""
        mark = _MARK.search(self.text, place)
        assert mark is not None
        name = _NAME.search(self.text, place - 1, mark.start())
        return mark.start() if name is None else name.end()

    def _without_common(self, start: int, end: int, common: frozenset[str]) -> Span:
        """A run of words without the first one if that owes its capital letter to the sentence that it begins."""
        match = _FIRST_OF_SEVERAL.match(self.text, start, end) if self._begins_sentence(start) else None
        return (start if match is None or match["first"].lower() not in common else match.end()), end

    def _name(self, start: int) -> str:
        return self.text[start : self._ends[start]]

    def _begins_sentence(self, place: int) -> bool:
        before = self.text[:place].rstrip(" ")[-1:]
        return not before or before in _BEFORE_SENTENCE
