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
    hops: Sequence[Hop],
    passages: Sequence[Document],
    comparison: str | None,
    answer: str | None,
    query_token: str,
    write_query: bool = True,
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
        answer (`str`, *optional*):
            The final answer; without one nothing follows the last hop.
        query_token (`str`):
            The token that asks for a retrieval.
        write_query (`bool`, *optional*, defaults to `True`):
            Write the sub-question in front of the query token. Without it the query is the state right after what was
            read so far: the question, and then the passage and answer of the hop before.

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
        asked = hop.sub_question if write_query else ""
        lines.append(f"{asked}{query_token}{render_passage(passage)}" + (f" {hop.answer}" if hop.answer else ""))
    if comparison:
        lines.append(comparison)
    if answer is not None:
        lines.append(f"Answer: {answer}")
    return "\n".join(lines)


def render_passage(passage: Document) -> str:
    """An inserted passage, stripped as the decoder inserts one that has no title."""
    return PARAGRAPH_START + f"{passage.title}\n{passage.text}".strip() + PARAGRAPH_END
