"""A conversation as the page shows it, and as the model reads it."""

from __future__ import annotations

from html import escape
from itertools import accumulate
from typing import Any

from ..pipelines.results import RagResult
from ..terminal.characters import printable
from .trace import Trace

Messages = list[dict[str, Any]]


def heard(trace: Trace) -> dict[str, Any]:
    """An answer as the model reads it in the next turn: what was retrieved stays, also if it was interrupted."""
    result = None if trace.done is None else trace.done.result
    if isinstance(result, RagResult):
        return result.as_message()
    ends = accumulate(map(len, trace.pieces))
    retrievals = [
        {"query": hop.query, "position": end, "passages": hop.passages}
        for hop, end in zip(trace.hops, ends, strict=False)
        if hop.passages is not None
    ]
    return {"role": "assistant", "content": "".join(trace.pieces), "retrievals": retrievals}


def asked(message: str) -> dict[str, Any]:
    """A message of the user, as the page shows it."""
    return {"role": "user", "content": _shown(message)}


def turn(trace: Trace) -> Messages:
    """An answer as messages: each retrieval folded, then the answer, or what has been written so far."""
    messages: Messages = []
    for hop in trace.hops:
        passages = "\n\n".join(
            f"{passage['score']:.3f}  {passage['title'] or passage['id']}\n{passage['text']}"
            for passage in hop.passages or ()
        )
        title = f"Retrieved: {hop.query}" if hop.passages is not None else f"Searching: {hop.query}"
        messages.append(
            {"role": "assistant", "content": _shown(passages) or "…", "metadata": {"title": _shown(title)}}
        )
    if trace.answer is None:
        written = trace.pieces[-1].strip()
    elif trace.answer.answered:
        written = trace.answer.answer
    else:
        written = trace.withheld() or "".join(trace.pieces).strip()
    return [*messages, {"role": "assistant", "content": _shown(written) or "…"}]


def _shown(text: str) -> str:
    """Text as HTML that shows it: Gradio's chat renders HTML even where Markdown is turned off."""
    return escape(printable(text), quote=False)
