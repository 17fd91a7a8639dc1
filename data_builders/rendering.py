"""The assistant's turn of a question: every hop with its passage, then the answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from data_builders.documents import Document
from data_builders.errors import RecordError

PARAGRAPH_START, PARAGRAPH_END = "<paragraph>", "</paragraph>"


class Hop(NamedTuple):
    """A sub question, its answer where known, and the title of the passage that answers it."""

    sub_question: str
    answer: str | None
    title: str


def render_answer(
    hops: Sequence[Hop], passages: Sequence[Document], comparison: str | None, answer: str, query_token: str
) -> str:
    """
    Write the assistant's turn: every hop with its passage, the comparison if there is one, the answer.

    Args:
        hops (`Sequence[Hop]`):
            The hops.
        passages (`Sequence[Document]`):
            The passage of each hop.
        comparison (`str`, *optional*):
            The line or lines that come before the answer.
        answer (`str`):
            The final answer.
        query_token (`str`):
            The token that asks for a retrieval.

    Returns:
        `str`: The content of the assistant message.

    Raises:
        `ValueError`: If a text holds one of the marks the format is made of.
    """
    lines: list[str] = []
    for hop, passage in zip(hops, passages, strict=True):
        texts = (hop.sub_question, hop.answer or "", passage.title, passage.text)
        marks = (query_token, PARAGRAPH_START, PARAGRAPH_END)
        if any(mark in text for mark in marks for text in texts):
            raise RecordError("reserved_text", f"a text of hop {len(lines)} contains one of {marks}; remove it there.")
        # Stripped, as the decoder inserts a passage that has no title.
        paragraph = PARAGRAPH_START + f"{passage.title}\n{passage.text}".strip() + PARAGRAPH_END
        lines.append(f"{hop.sub_question}{query_token}{paragraph}" + (f" {hop.answer}" if hop.answer else ""))
    if comparison:
        lines.append(comparison)
    lines.append(f"Answer: {answer}")
    return "\n".join(lines)
