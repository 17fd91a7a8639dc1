"""What the tabs have in common: an answer that is drawn while it is generated."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import gradio as gr

from .trace import Trace

MODEL = {"concurrency_limit": 1, "concurrency_id": "model"}
"""Options of an event that runs the model: one at a time, whatever the tab; others wait in the queue."""


def traces(rag: Any, question: Any, **options: Any) -> Iterator[Trace]:
    """
    Answer a question.

    Args:
        rag ([`OneGenRagPipeline`])
        question (`str` or a chat)
        options: Of `rag.stream`.

    Yields:
        [`Trace`]: The same one after each event.

    Raises:
        `gradio.Error`: What the page shows if the question or an option is refused.
    """
    trace = Trace()
    yield trace
    with shown_errors(), closing(rag.stream(question, **options)) as events:
        for event in events:
            trace.add(event)
            yield trace


class shown_errors:
    """Turns what a user can mend into a message of the page; other errors stay as they are."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        if isinstance(error, (TypeError, ValueError, OSError)):
            raise gr.Error(str(error), print_exception=False) from error
