"""Splits texts longer than the context into overlapping windows, and resolves mentions in the overlaps."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .markup import Span

_UNIT = re.compile(r"\S{1,32}\s*|\s+")


@dataclass(frozen=True)
class Window:
    """
    A part of a text, in code points.

    Args:
        start (`int`): Index of its first character.
        end (`int`): Index after its last character.
        owned (`tuple[int, int]`): Mentions that begin here are taken from this window. The owned parts of the
            windows cover the text without overlap; each lies in the middle of its window.
    """

    start: int
    end: int
    owned: Span

    def owns(self, span: Span) -> bool:
        """Whether a mention is taken from this window."""
        return self.owned[0] <= span[0] < self.owned[1]


def split_windows(
    text: str, count_tokens: Callable[[Sequence[str]], list[int]], max_tokens: int, overlap: int
) -> list[Window]:
    """
    Split a text at white space into overlapping windows.

    Args:
        text (`str`)
        count_tokens (`Callable[[Sequence[str]], list[int]]`): Number of tokens of each of the given strings.
        max_tokens (`int`): Maximum number of tokens in a window.
        overlap (`int`): Tokens that a window shares with the next one.

    Returns:
        `list[Window]`: At least one.

    Raises:
        `ValueError`: If `overlap` is negative or not less than `max_tokens`.
    """
    if not 0 <= overlap < max_tokens:
        raise ValueError(f"overlap={overlap} must be at least 0 and less than the {max_tokens} tokens of a window")
    matches = list(_UNIT.finditer(text))
    counts = count_tokens([match[0] for match in matches])
    edges = [*(match.start() for match in matches), len(text)]
    parts: list[Span] = []
    first, last = 0, 0
    while last < len(matches):
        last = first + max(_fitting(counts[first:], max_tokens), 1)
        parts.append((edges[first], edges[last]))
        # Advance by at least one unit, or the loop would never end.
        first = max(last - _fitting(counts[first:last][::-1], overlap), first + 1)
    if not parts:
        return [Window(0, len(text), (0, len(text)))]
    borders = [0, *((begin + end) // 2 for (_, end), (begin, _) in zip(parts, parts[1:], strict=False)), len(text)]
    return [Window(*part, owned) for part, owned in zip(parts, zip(borders, borders[1:], strict=False), strict=True)]


def _fitting(counts: Sequence[int], limit: int) -> int:
    """Number of leading units that fit into `limit` tokens."""
    total = 0
    for number, count in enumerate(counts):
        total += count
        if total > limit:
            return number
    return len(counts)


def merge_spans(spans: Sequence[Span]) -> list[int]:
    """
    Resolve overlaps between mentions of adjacent windows: the earlier mention stays, later ones that overlap it are
    dropped. Takes mentions in the order of the text and returns the indices of those that stay.
    """
    kept: list[int] = []
    for number, (start, _) in enumerate(spans):
        if not kept or start >= spans[kept[-1]][1]:
            kept.append(number)
    return kept


def assign_spans(spans: Sequence[Span], windows: Sequence[Window]) -> list[list[Span]]:
    """
    Assign each given mention to the window with the most context around it.

    Returns:
        `list[list[tuple[int, int]]]`: For each window its mentions, in the order of the text.

    Raises:
        `ValueError`: If no window contains a mention.
    """
    assigned: list[list[Span]] = [[] for _ in windows]
    for start, end in spans:
        holding = [n for n, window in enumerate(windows) if window.start <= start and end <= window.end]
        if not holding:
            raise ValueError(f"the span ({start}, {end}) is longer than a window of the text: raise `window_overlap`")
        best = max(holding, key=lambda n: min(start - windows[n].start, windows[n].end - end))
        assigned[best].append((start, end))
    return assigned
