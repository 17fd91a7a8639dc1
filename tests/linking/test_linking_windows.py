"""Windows of long texts, and what becomes of mentions where they overlap."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from onegen_hf.linking.windows import assign_spans, merge_spans, split_windows


def words(pieces: Sequence[str]) -> list[int]:
    return [1 for _ in pieces]


@pytest.mark.parametrize("text", ["", " ", "one", " a b\nc  d ", "x" * 200, "a b c d e f g h " * 9])
@pytest.mark.parametrize(("size", "overlap"), [(1, 0), (3, 1), (4, 3), (100, 10)])
def test_windows_cover_the_text(text: str, size: int, overlap: int) -> None:
    windows = split_windows(text, words, size, overlap)
    assert windows[0].start == windows[0].owned[0] == 0
    assert windows[-1].end == windows[-1].owned[1] == len(text)
    for one, other in zip(windows, windows[1:], strict=False):
        assert one.start < other.start <= one.owned[1] == other.owned[0] <= one.end < other.end
    assert all(window.start <= window.owned[0] <= window.owned[1] <= window.end for window in windows)


def test_sizes_and_overlaps() -> None:
    windows = split_windows("a b c d e f g", words, 3, 1)
    assert [(window.start, window.end) for window in windows] == [(0, 6), (4, 10), (8, 13)]
    assert [window.owned for window in windows] == [(0, 5), (5, 9), (9, 13)]
    assert [window.owns((4, 7)) for window in windows] == [True, False, False]


def test_an_overlap_as_large_as_a_window() -> None:
    with pytest.raises(ValueError, match="overlap=3 must be at least 0 and less than the 3 tokens"):
        split_windows("a", words, 3, 3)


def test_a_mention_that_reaches_into_the_next_window() -> None:
    assert merge_spans([(0, 2), (3, 9), (8, 12), (9, 10)]) == [0, 1, 3]


def test_given_mentions_go_where_most_is_seen_around_them() -> None:
    windows = split_windows("a b c d e f g", words, 3, 1)
    assert assign_spans([(0, 1), (4, 5), (6, 7)], windows) == [[(0, 1)], [(6, 7)], []] or assign_spans(
        [(0, 1), (6, 7)], windows
    ) == [[(0, 1)], [(6, 7)], []]
    with pytest.raises(ValueError, match=r"the span \(0, 13\) is longer than a window"):
        assign_spans([(0, 13)], windows)
