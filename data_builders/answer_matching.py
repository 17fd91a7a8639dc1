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
    return " ".join(_WORD.findall(unicodedata.normalize("NFKC", text).casefold()))


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
    wanted = [answer for answer in map(words, answers) if answer]
    if not wanted:
        return False
    padded = f" {words(text)} "
    return any(f" {answer} " in padded for answer in wanted)
