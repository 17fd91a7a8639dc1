"""Where tags may be inserted into a text: at word boundaries, or between any two characters."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

BOUNDARIES = ("word", "character")
_WITHOUT_SPACES = ("THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN")
_ZERO_WIDTH_JOINER = "\u200d"


@dataclass(frozen=True)
class Boundaries:
    """
    Offsets, in Unicode code points, at which mentions may begin and end.

    Args:
        starts (`Sequence[int]`): Ascending; each precedes a character that is not white space.
        ends (`Sequence[int]`): Ascending; each follows a character that is not white space.
    """

    starts: Sequence[int]
    ends: Sequence[int]


def find_boundaries(text: str, kind: str = "word") -> Boundaries:
    """
    Find the offsets at which mentions may begin and end. No mention begins or ends with white space.

    Args:
        text (`str`)
        kind (`str`, *optional*, defaults to `"word"`): `"word"`: not between two letters or digits, except in
            scripts written without spaces. `"character"`: anywhere, which also allows mentions inside words.

    Raises:
        `ValueError`: If `kind` is unknown.
    """
    check_boundaries(kind)
    places = list(range(len(text) + 1))
    if kind == "word":
        places = [n for n in places if n in (0, len(text)) or not _joined(text[n - 1], text[n])]
    return Boundaries(
        starts=[n for n in places if n < len(text) and not text[n].isspace()],
        ends=[n for n in places if n > 0 and not text[n - 1].isspace()],
    )


def check_boundaries(kind: str) -> None:
    """
    Raises:
        `ValueError`: If `kind` is unknown.
    """
    if kind not in BOUNDARIES:
        raise ValueError(f"boundaries={kind!r} must be one of {BOUNDARIES}")


def _joined(left: str, right: str) -> bool:
    if left.isspace() or right.isspace():
        return False
    if unicodedata.category(right).startswith("M") or _ZERO_WIDTH_JOINER in (left, right):
        return True
    if not (_is_word(left) and _is_word(right)):
        return False
    return not (_needs_no_space(left) or _needs_no_space(right))


def _is_word(character: str) -> bool:
    return character.isalnum() or unicodedata.category(character).startswith("M")


def _needs_no_space(character: str) -> bool:
    if character.isascii():
        return False
    wide = unicodedata.east_asian_width(character) == "W" and not unicodedata.name(character, "").startswith("HANGUL")
    return wide or unicodedata.name(character, "").startswith(_WITHOUT_SPACES)
