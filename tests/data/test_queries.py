"""The texts of query tokens."""

from __future__ import annotations

from typing import Any

import pytest

from onegen_hf import OneGenConfig, RetrievalTokens
from onegen_hf.data.queries import query_texts

PARAGRAPH = "<paragraph>Tin Boat\nA film by Ada Moll.</paragraph>"


def conversation(*contents: str) -> list[dict[str, str]]:
    """Turns of the user and the assistant in turn."""
    return [{"role": ("user", "assistant")[n % 2], "content": content} for n, content in enumerate(contents)]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("Who made it? [RQ] Ada Moll", ["Who made it?"]),
        ("[RQ] Ada Moll", ["the question"]),
        ("  [RQ] Ada Moll", ["the question"]),
        ("No retrieval.", []),
        # Several hops with sub-questions, as the builders write them, and without.
        (f"Who made it?[RQ]{PARAGRAPH} Ada Moll\nWhere was she born?[RQ]", ["Who made it?", "Where was she born?"]),
        (f"[RQ]{PARAGRAPH} Ada Moll\n[RQ]{PARAGRAPH} Answer: x", ["the question", None]),
        (f"[RQ]{PARAGRAPH}[RQ]", ["the question", None]),
        (f"Who made it?[RQ]{PARAGRAPH}[RQ]", ["Who made it?", None]),
        # A later turn of hops may still write its question.
        (f"[RQ]{PARAGRAPH} Ada Moll\nWhere was she born? [RQ]", ["the question", "Where was she born?"]),
    ],
)
def test_query_texts(answer: str, expected: list[str | None]) -> None:
    assert query_texts(conversation("the question", answer), OneGenConfig()) == expected


def test_every_turn_has_its_question() -> None:
    messages = conversation("first?", "[RQ] a", "second?", "[RQ] b[RQ]")
    assert query_texts(messages, OneGenConfig()) == ["first?", "second?", "b"]
    assert query_texts(messages[1:], OneGenConfig()) == [None, "second?", "b"]


@pytest.mark.parametrize(
    ("template", "content", "expected"),
    [
        ("Q: {question}\nA:", "Q: Who?\nA:", "Who?"),
        ("Q: {question}\nA:", "Who?", "Who?"),  # not written by the template
        ("{{Q}} {question}", "{Q} Who?", "Who?"),
        ("{question} {question}", "Who? Who?", "Who? Who?"),
    ],
)
def test_the_prompt_template_is_taken_off(template: str, content: str, expected: str) -> None:
    config = OneGenConfig(prompt_template=template)
    assert query_texts(conversation(content, "[RQ]"), config) == [expected]


@pytest.mark.parametrize(
    ("tokens", "answer", "expected"),
    [
        (RetrievalTokens.entity_linking(), "In <MENTION>Fern Bay</MENTION>[LK][CON]", ["In Fern Bay"]),
        (RetrievalTokens.self_rag(), "[Retrieval][RQ]", ["the question"]),
    ],
)
def test_control_tokens_are_no_words(tokens: Any, answer: str, expected: list[str]) -> None:
    assert query_texts(conversation("the question", answer), OneGenConfig(tokens=tokens)) == expected
