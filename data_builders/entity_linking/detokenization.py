"""Joining a treebank's tokens to running text, keeping track of where each one comes to stand."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_BRACKETS = {"-LRB-": "(", "-RRB-": ")", "-LSB-": "[", "-RSB-": "]", "-LCB-": "{", "-RCB-": "}"}
_QUOTES = {"``": '"', "''": '"'}
_CLINGS_LEFT = re.compile(r"[,.;:!?%)\]}]+|\.\.\.|'(?:s|S|m|M|d|D|re|RE|ve|VE|ll|LL)|[nN]['’][tT]|’s")
_CLINGS_RIGHT = re.compile(r"[(\[{$£€#]|[A-Z]{1,2}\$")


def detokenize(sentences: Iterable[Sequence[str]]) -> tuple[str, list[list[tuple[int, int]]]]:
    """
    Join the tokens of sentences.

    Punctuation and clitics cling to the word before, opening brackets and currency signs to the one after, and
    straight quotes open and close in turn within a sentence. Penn Treebank's words for brackets and quotes become the
    signs. Sentences are joined by a space.

    Args:
        sentences (`Iterable[Sequence[str]]`): The tokens of each sentence.

    Returns:
        `tuple[str, list[list[tuple[int, int]]]]`: The text, and the span `[start, end)` of every token.

    Example:

    ```python
    >>> detokenize([["Ada", "'s", "boat", "(", "blue", ")", "."]])
    ("Ada's boat (blue).", [[(0, 3), (3, 5), (6, 10), (11, 12), (12, 16), (16, 17), (17, 18)]])
    ```
    """
    pieces: list[str] = []
    length = 0
    spans: list[list[tuple[int, int]]] = []
    for sentence in sentences:
        own: list[tuple[int, int]] = []
        glued, quoted = False, False
        for number, token in enumerate(sentence):
            shown = _QUOTES.get(token, _BRACKETS.get(token, token))
            closes = shown == '"' and quoted
            if length and not (number and (glued or closes or _CLINGS_LEFT.fullmatch(shown))):
                pieces.append(" ")
                length += 1
            own.append((length, length + len(shown)))
            pieces.append(shown)
            length += len(shown)
            opens = shown == '"' and not quoted
            quoted = quoted != (shown == '"')
            glued = opens or _CLINGS_RIGHT.fullmatch(shown) is not None
        spans.append(own)
    return "".join(pieces), spans
