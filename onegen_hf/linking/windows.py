"""Texts longer than the context: overlapping windows, and whose mention counts where they overlap."""

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
        start (`int`): Its first character.
        end (`int`): Behind its last.
        owned (`tuple[int, int]`): The mentions that begin in here are taken from this window; the windows' owned parts
            follow each other without overlap, each in the middle of what its window sees.
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
    Cut a text at white space into windows that overlap.

    Args:
        text (`str`)
        count_tokens (`Callable[[Sequence[str]], list[int]]`): Tokens of each of some pieces.
        max_tokens (`int`): Most tokens of a window.
        overlap (`int`): Tokens that a window shares with the next one.

    Returns:
        `list[Window]`: At least one.

    Raises:
        `ValueError`: If a window would not be larger than its overlap.
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
        # At least one unit further, or it would never end.
        first = max(last - _fitting(counts[first:last][::-1], overlap), first + 1)
    if not parts:
        return [Window(0, len(text), (0, len(text)))]
    borders = [0, *((begin + end) // 2 for (_, end), (begin, _) in zip(parts, parts[1:], strict=False)), len(text)]
    return [Window(*part, owned) for part, owned in zip(parts, zip(borders, borders[1:], strict=False), strict=True)]


def _fitting(counts: Sequence[int], limit: int) -> int:
    """How many of the first units stay within a number of tokens."""
    total = 0
    for number, count in enumerate(counts):
        total += count
        if total > limit:
            return number
    return len(counts)


def merge_spans(spans: Sequence[Span]) -> list[int]:
    """
    Of the mentions that the windows own, in the order of the text, the numbers of those that stay: where one reaches
    over its window's own part into the next one's, what it overlaps there is dropped.
    """
    kept: list[int] = []
    for number, (start, _) in enumerate(spans):
        if not kept or start >= spans[kept[-1]][1]:
            kept.append(number)
    return kept


def assign_spans(spans: Sequence[Span], windows: Sequence[Window]) -> list[list[Span]]:
    """
    Give each known mention to the window that sees most around it.

    Returns:
        `list[list[tuple[int, int]]]`: For each window its mentions, in the order of the text.

    Raises:
        `ValueError`: If no window holds a mention.
    """
    assigned: list[list[Span]] = [[] for _ in windows]
    for start, end in spans:
        holding = [n for n, window in enumerate(windows) if window.start <= start and end <= window.end]
        if not holding:
            raise ValueError(f"the span ({start}, {end}) is longer than a window of the text: raise `window_overlap`")
        best = max(holding, key=lambda n: min(start - windows[n].start, windows[n].end - end))
        assigned[best].append((start, end))
    return assigned
