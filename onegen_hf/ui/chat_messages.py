"""A conversation as the page shows it, and as the model reads it."""

from __future__ import annotations

from html import escape, unescape
from typing import Any

from ..terminal.characters import printable
from .trace import Trace

Messages = list[dict[str, Any]]


def conversation(shown: Messages) -> Messages:
    """What the model reads of a conversation: the messages, without the passages shown between them."""
    turns = [turn for turn in shown if not (turn.get("metadata") or {}).get("title")]
    return [{"role": turn["role"], "content": _text(turn["content"])} for turn in turns]


def asked(message: str) -> dict[str, Any]:
    """A message of the user."""
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


def _text(content: Any) -> str:
    """What [`_shown`] was given. Gradio may hand a message back in parts."""
    if not isinstance(content, str):
        content = "".join(part["text"] for part in content if isinstance(part, dict) and part.get("type") == "text")
    return unescape(content)
