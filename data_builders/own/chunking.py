"""Long texts to passages of bounded length, cut where the text itself has a break."""

from __future__ import annotations

import re

_BREAKS = tuple(re.compile(pattern) for pattern in (r"\n\s*\n", r"\n", r"(?<=[.!?])\s+", r"\s+"))


def chunk_text(text: str, max_chars: int) -> list[str]:
    """
    Cut a text into passages: paragraphs, put together as long as they fit. A paragraph that is too long by itself is
    cut between lines, then sentences, then words, and a word that is too long, such as a URL, anywhere.

    Args:
        text (`str`):
            Any text.
        max_chars (`int`):
            The most characters of a passage.

    Returns:
        `list[str]`: The passages in order, without the white space between them; none of an empty text.
    """
    return _chunk(text.strip(), max_chars, 0)


def _chunk(text: str, max_chars: int, level: int) -> list[str]:
    if len(text) <= max_chars:
        return [text] if text else []
    if level == len(_BREAKS):
        return [text[start : start + max_chars] for start in range(0, len(text), max_chars)]
    chunks: list[str] = []
    start = end = 0
    # A chunk is a slice of the text, so that what stands between its parts stays as it is.
    for piece_start, piece_end in _pieces(text, level):
        if piece_end - start > max_chars and end > start:
            chunks += _chunk(text[start:end].strip(), max_chars, level + 1)
            start = piece_start
        end = piece_end
    return chunks + _chunk(text[start:end].strip(), max_chars, level + 1)


def _pieces(text: str, level: int) -> list[tuple[int, int]]:
    starts = [0, *(match.end() for match in _BREAKS[level].finditer(text))]
    ends = [*(match.start() for match in _BREAKS[level].finditer(text)), len(text)]
    return list(zip(starts, ends, strict=True))
