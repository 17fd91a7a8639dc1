"""Characters that no page and no terminal may be given as they are."""

from __future__ import annotations

import re

_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")


def printable(text: str) -> str:
    """The text with control characters, halves of surrogate pairs and non-characters replaced by `U+FFFD`."""
    return _UNPRINTABLE.sub("\ufffd", text.replace("\r\n", "\n"))
