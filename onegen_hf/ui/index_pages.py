"""The passages of an index, page by page."""

from __future__ import annotations

from typing import Any

from ..data.passages import Passage
from ..index import PassageIndex
from .html import render

PER_PAGE = 10


def page_of(index: PassageIndex, number: int) -> str:
    """
    A page of the index as HTML.

    Args:
        index ([`PassageIndex`])
        number (`int`): From 1.
    """
    start = min(max(number - 1, 0) * PER_PAGE, max(len(index) - 1, 0) // PER_PAGE * PER_PAGE)
    end = min(start + PER_PAGE, len(index))
    passages = [described(index.passages[row]) for row in range(start, end)]
    return render("results.html.jinja", passages=passages, note=f"Passages {start + 1} to {end} of {len(index)}")


def described(passage: Passage) -> dict[str, Any]:
    """A passage as the page shows it where it has no score."""
    return {
        "id": passage.id, "title": passage.title, "text": passage.text, "meta": passage.meta, "score": None
    }  # fmt: skip
