"""Whether a passage holds an answer: the words of the answer, in a row, whatever their case and punctuation."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

_WORD = re.compile(r"\w+")


def words(text: str) -> str:
    """
    Reduce a text to its words.

    Args:
        text (`str`):
            Any text.

    Returns:
        `str`: Its words in lower case, one space between them.
    """
    return " ".join(_WORD.findall(_folded(text)))


def holds_answer(text: str, answers: Iterable[str]) -> bool:
    """
    Tell whether one of the answers stands in a text as whole words: `"Rome"` is in `"to Rome."`, not in `"Romeo"`.

    Args:
        text (`str`):
            The passage.
        answers (`Iterable[str]`):
            The answers; one without any word stands nowhere.

    Returns:
        `bool`: Whether any does.
    """
    folded = _folded(text)
    # Most texts lack the words altogether; a substring test shows that without splitting them.
    wanted = [answer for answer in map(words, answers) if answer and all(word in folded for word in answer.split())]
    if not wanted:
        return False
    padded = f" {' '.join(_WORD.findall(folded))} "
    return any(f" {answer} " in padded for answer in wanted)


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()
