"""`LikelyMentions`: guesses where a text has mentions, good enough to draft what a model will write."""

from __future__ import annotations

import re

from .copying import CopyRule

_CAPITALIZED = r"[^\W\d_a-zß-öø-ÿ][\w'’&-]*(?:\.(?=\w)\w+)*(?:(?<=\b\w)\.|(?<=\.\w)\.)?"
_CONNECTIVE = r"(?:of|de|la|von|van|der|al|du|del|di)"
_NAME = re.compile(rf"{_CAPITALIZED}(?: (?:{_CONNECTIVE} ){{0,2}}{_CAPITALIZED})*")
_BEFORE_SENTENCE = frozenset(".!?:\n\"'“”‘’([")
TRIAL = 4
"""Guesses that are made before their success decides about further ones."""
LEAST_SUCCESS = 0.25
"""Share of the guesses that must have been right for further ones to be made."""


class LikelyMentions:
    """
    The mentions that the letters of a text suggest: runs of capitalized words, with "of" and its like inside of them.
    The first word of a sentence alone only counts if it is capitalized elsewhere as well, alone or as a surname.

    What has been marked so far is learned from: names that were marked are expected again, names that were not are
    not, and where most guesses were wrong, as in a language without capital letters, no more are made.

    Args:
        text (`str`)
    """

    def __init__(self, text: str) -> None:
        self.text = text
        spans = [match.span() for match in _NAME.finditer(text)]
        within = {text[start:end] for start, end in spans if not self._begins_sentence(start)}
        within |= {text[start:end].rpartition(" ")[2] for start, end in spans if " " in text[start:end]}
        self._ends = {
            start: end
            for start, end in spans
            if not self._begins_sentence(start) or " " in text[start:end] or text[start:end] in within
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
        return {start: end for start, end in self._ends.items() if self._name(start) not in declined}

    def _name(self, start: int) -> str:
        return self.text[start : self._ends[start]]

    def _begins_sentence(self, place: int) -> bool:
        before = self.text[:place].rstrip(" ")[-1:]
        return not before or before in _BEFORE_SENTENCE
