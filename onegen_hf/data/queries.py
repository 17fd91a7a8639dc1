"""`query_texts`: what the query tokens of a conversation ask, in words that another model can read."""

from __future__ import annotations

from collections.abc import Sequence
from string import Formatter

from ..configuration import OneGenConfig
from .chat_rendering import split_assistant
from .messages import Message


def query_texts(messages: Sequence[Message], config: OneGenConfig) -> list[str | None]:
    """
    The text of each query token in the assistant's turns.

    It is the sub-question that stands directly before the token, on the same line. Without one, the first query token
    of a turn asks the user's question, and a later one has no text: its query lies in the state of the model alone.

    Args:
        messages (`Sequence[Mapping]`): `{"role": ..., "content": ...}`
        config (`OneGenConfig`): Its prompt template is taken off the user's question.

    Returns:
        `list[str | None]`: One entry per query token, in order.
    """
    texts: list[str | None] = []
    question: str | None = None
    for message in messages:
        if message["role"] == "user":
            question = _without_template(message["content"], config.prompt_template).strip() or None
        elif message["role"] == "assistant":
            before, asked = "", question
            for kind, text in split_assistant(message["content"], config):
                if kind == "query":
                    texts.append(_sub_question(before, config) or asked)
                    asked = None
                before = text if kind == "text" else ""
    return texts


def _sub_question(before: str, config: OneGenConfig) -> str:
    for token in config.tokens.all:  # reflection tokens and mention tags
        before = before.replace(token, "")
    return before.rpartition("\n")[2].strip()


def _without_template(content: str, template: str) -> str:
    """The question in a prompt; the prompt itself if it was not written by the template."""
    literals = [""]
    for literal, name, _, _ in Formatter().parse(template):
        literals[-1] += literal
        literals += [""] if name == "question" else []
    start, *_, end = literals
    is_written = len(literals) == 2 and content.startswith(start) and content.endswith(end)
    return content[len(start) : len(content) - len(end)] if is_written else content
