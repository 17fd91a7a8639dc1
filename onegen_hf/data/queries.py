"""What the query tokens of a conversation ask, in words: for another model, and as decoding takes them."""

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


def decoded_texts(messages: Sequence[Message], config: OneGenConfig) -> list[str]:
    """
    The text of each query token as [`OnePassDecoder`] takes it, by which passages are shortened.

    It is the last line that the model has written since the passage before; without one, the user's question.

    Args:
        messages (`Sequence[Mapping]`): `{"role": ..., "content": ...}`
        config (`OneGenConfig`): Its prompt template is taken off the user's question.

    Returns:
        `list[str]`: One entry per query token, in order; empty for a turn that no question precedes.
    """
    texts: list[str] = []
    question = ""
    for message in messages:
        if message["role"] == "user":
            question = _without_template(message["content"], config.prompt_template)
        elif message["role"] == "assistant":
            written = ""
            for kind, text in split_assistant(message["content"], config):
                if kind == "query":
                    texts.append(_last_line(written, config) or question)
                written = written + text if kind in ("text", "unlabelled") else ""
    return texts


def _sub_question(before: str, config: OneGenConfig) -> str:
    return _without_tokens(before, config).rpartition("\n")[2].strip()


def _last_line(written: str, config: OneGenConfig) -> str:
    return _without_tokens(written, config).strip().rpartition("\n")[2]


def _without_tokens(text: str, config: OneGenConfig) -> str:
    for token in config.tokens.all:  # reflection tokens and mention tags
        text = text.replace(token, "")
    return text


def _without_template(content: str, template: str) -> str:
    """The question in a prompt; the prompt itself if it was not written by the template."""
    literals = [""]
    for literal, name, _, _ in Formatter().parse(template):
        literals[-1] += literal
        literals += [""] if name == "question" else []
    start, *_, end = literals
    is_written = len(literals) == 2 and content.startswith(start) and content.endswith(end)
    return content[len(start) : len(content) - len(end)] if is_written else content
