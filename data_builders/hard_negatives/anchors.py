"""What an example asks at each of its query tokens, and what it answers there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from data_builders.answer_matching import words
from data_builders.rendering import PARAGRAPH_END, PARAGRAPH_START
from data_builders.single_hop.reflection import REFLECTION_TOKENS, RETRIEVAL

# They stand in any passage, or say nothing about one.
_LABELS = {"yes", "no", "true", "false", "noanswer"}


class Anchor(NamedTuple):
    """One query token: what it searches for, and the texts that would answer it."""

    query: str
    answers: tuple[str, ...]


def read_anchors(example: Mapping[str, Any], query_token: str) -> list[Anchor]:
    """
    Read the query tokens of an example.

    Args:
        example (`Mapping[str, Any]`):
            A record of the `examples` config.
        query_token (`str`):
            The token that asks for a retrieval.

    Returns:
        `list[Anchor]`: In order. The answers are what follows the passage on its line; for the last query token, and
        where nothing follows, also those of the example. Labels (yes, true) and single letters are no answers.
    """
    pieces: list[tuple[str, str]] = []
    for message in example["messages"]:
        if message["role"] == "assistant":
            before, *rest = message["content"].split(query_token)
            for after in rest:
                pieces.append((before, after))
                before = after
    anchors = []
    for number, (before, after) in enumerate(pieces):
        told = _answer(after)
        answers = [told] if told else []
        if not told or number == len(pieces) - 1:
            answers += example.get("answers") or []
        anchors.append(Anchor(_query(before) or example["question"], tuple(filter(_tells, dict.fromkeys(answers)))))
    return anchors


def _query(before: str) -> str:
    line = before.rpartition(PARAGRAPH_END)[2].rpartition("\n")[2].strip()
    # In front of Self-RAG's decision stands the sentence before, which asks for nothing.
    return "" if line.endswith(RETRIEVAL) else line


def _answer(after: str) -> str:
    while after.lstrip().startswith(PARAGRAPH_START):
        after = after.partition(PARAGRAPH_END)[2]
    line = after.partition("\n")[0]
    for token in REFLECTION_TOKENS:
        line = line.replace(token, " ")
    return line.strip()


def _tells(answer: str) -> bool:
    bare = words(answer)
    return len(bare) > 1 and bare not in _LABELS
