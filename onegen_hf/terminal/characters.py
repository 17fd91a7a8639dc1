"""Characters that must not reach a page or a terminal as they are."""

from __future__ import annotations

import re

_CONTROL = "\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff"
_UNPRINTABLE = re.compile(f"[{_CONTROL}]")
# Overrides and isolates of the writing direction let a text rearrange the line around it.
_UNSAFE_IN_A_LINE = re.compile(f"[{_CONTROL}\u202a-\u202e\u2066-\u2069]")
_ESCAPED_IN_JSON = re.compile("[\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """Replace control characters, lone surrogates and non-characters by `U+FFFD`; tabs and line breaks stay."""
    return _UNPRINTABLE.sub("\ufffd", text.replace("\r\n", "\n"))


def printable_in_terminal(text: str) -> str:
    """As [`printable`], and also replace characters that override the direction of writing."""
    return _UNSAFE_IN_A_LINE.sub("\ufffd", text.replace("\r\n", "\n"))


def printable_line(text: str) -> str:
    """As [`printable_in_terminal`], on one line: every run of white space becomes one space."""
    return printable_in_terminal(" ".join(text.split()))


def printable_json(text: str) -> str:
    """A JSON document with the characters escaped that could steer a terminal; it still means the same."""
    return _ESCAPED_IN_JSON.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
