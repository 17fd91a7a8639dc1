"""Maps the mentions of a rewritten text back to the original text."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher

from .markup import Span


def align_spans(written: str, text: str, spans: Sequence[Span]) -> list[Span | None]:
    """
    Map mentions in a rewritten text to the original text.

    Args:
        written (`str`)
        text (`str`)
        spans (`Sequence[tuple[int, int]]`): In code points of `written`, ascending and without overlaps.

    Returns:
        `list[tuple[int, int] | None]`: In code points of `text`; `None` where the characters of a mention are not
        contiguous at the corresponding place.
    """
    if written == text:
        return list(spans)
    blocks = SequenceMatcher(None, written, text, autojunk=False).get_matching_blocks()
    aligned: list[Span | None] = []
    for start, end in spans:
        block = next((b for b in blocks if b.a <= start < end <= b.a + b.size), None)
        aligned.append(None if block is None else (start + block.b - block.a, end + block.b - block.a))
    return aligned
