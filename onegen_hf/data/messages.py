"""Messages as they come in: their checks, and the turns that a template renders."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from string import Formatter
from typing import Any

from ..checks import text as text_rule
from .earlier_retrievals import FIELD as RETRIEVALS
from .earlier_retrievals import EarlierRetrieval, earlier_retrievals

Message = Mapping[str, Any]
"""`{"role": ..., "content": ...}`; an assistant's turn may also have `retrievals`, as results hold them."""
_ROLE = re.compile(r"[A-Za-z][\w.-]*")


@dataclass(frozen=True)
class Turn:
    """
    A message whose content comes in parts.

    Args:
        role (`str`)
        parts (`tuple[tuple[str, bool], ...]`): Texts in order, and whether each was written by a user or in data, as
            opposed to the checkpoint's settings.
        answer (`bool`, *optional*, defaults to `False`): Whether it is a turn that the model writes.
        others (`Mapping[str, Any]`, *optional*): Further fields of the message.
        retrievals (`tuple[EarlierRetrieval, ...]`, *optional*): What was retrieved in it.
    """

    role: str
    parts: tuple[tuple[str, bool], ...]
    answer: bool = False
    others: Mapping[str, Any] = field(default_factory=dict)
    retrievals: tuple[EarlierRetrieval, ...] = ()

    @classmethod
    def of(cls, message: Message, answer: bool = False) -> Turn:
        """A message as it stands."""
        others = {name: value for name, value in message.items() if name not in ("role", "content")}
        return cls(message["role"], ((message["content"], True),), answer, others)

    @classmethod
    def of_chat(cls, message: Message) -> Turn:
        """A message in front of an answer; one with retrievals is a turn that the model wrote."""
        retrievals = earlier_retrievals(message)
        turn = cls.of({name: value for name, value in message.items() if name != RETRIEVALS})
        return replace(turn, answer=bool(retrievals), retrievals=retrievals)

    @property
    def content(self) -> str:
        """All of its text."""
        return "".join(text for text, _ in self.parts)

    def asked_with(self, template: str) -> Turn:
        """The turn with a prompt template around its content."""
        parts: list[tuple[str, bool]] = []
        for literal, name, _, _ in Formatter().parse(template):
            parts += [(literal, False)] if literal else []
            parts += [(self.content, True)] if name == "question" else []
        return replace(self, parts=tuple(parts))


def check_message(message: Any) -> None:
    """
    Raises:
        `TypeError`: If a message is no mapping, or its content no text.
        `ValueError`: If it lacks a field, its role is no word, or its content cannot be written as UTF-8.
    """
    if not isinstance(message, Mapping):
        raise TypeError(
            f"messages: every message must be a mapping with 'role' and 'content', got {type(message).__name__}"
        )
    if not {"role", "content"} <= set(message):
        raise ValueError(f"messages: every message needs 'role' and 'content', got {sorted(message)}")
    role = message["role"]
    if not isinstance(role, str) or not _ROLE.fullmatch(role):
        raise ValueError(f"messages: role={role!r} must be one word, such as 'system', 'user' or 'assistant'")
    text_rule(empty=True)(f"messages: content of the role {role!r}", message["content"])


def is_message(value: Any) -> bool:
    """Whether something is a turn of a chat, well-formed or not."""
    return isinstance(value, Mapping) and "role" in value


def check_chat(messages: Any) -> list[Message]:
    """
    Make sure that a chat asks something.

    Returns:
        `list[Mapping]`: The messages.

    Raises:
        `TypeError` or `ValueError`: If it is no list of messages, or does not end with a turn to answer.
    """
    if isinstance(messages, (str, bytes, Mapping)) or not isinstance(messages, Sequence):
        raise TypeError(
            f"a question must be a text or a list of messages, got {type(messages).__name__}: {messages!r:.80}"
        )
    for message in messages:
        check_message(message)
    roles = [message["role"] for message in messages]
    if not messages or roles[-1] == "assistant":
        raise ValueError(f"a chat must end with a turn to answer, got the roles {roles}: put the user's message last")
    if not any(message["role"] == "user" and message["content"].strip() for message in messages):
        raise ValueError(f"a chat needs a message of the role 'user' that is not empty, got the roles {roles}")
    return list(messages)
