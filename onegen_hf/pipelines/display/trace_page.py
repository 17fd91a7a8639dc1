"""Answers and how they came about, as one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...pages import render
from ..confidence import why_withheld


def trace_page(
    results: Sequence[tuple[str, Mapping[str, Any]]], title: str = "Answers", query_token: str = "[RQ]"
) -> str:
    """
    Show questions with each retrieval, its passages and their scores, the answer, and what it cost. All content is
    escaped.

    Args:
        results (`Sequence[tuple[str, Mapping]]`): Each question with its result, as `pipeline("onegen-rag")` returns
            it.
        title (`str`, *optional*, defaults to `"Answers"`)
        query_token (`str`, *optional*, defaults to `"[RQ]"`): Shown where the model retrieved.

    Returns:
        `str`: HTML 5; write it as UTF-8.
    """
    return render(
        __package__ or "",
        "trace.html.jinja",
        title,
        results=list(results),
        query_token=query_token,
        why_withheld=why_withheld,
    )
