"""The events of a streamed answer: plain data, whatever decodes the answer and however it reaches the reader."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal

EventType = Literal["token", "query", "passages", "answer", "done"]


@dataclass(frozen=True)
class StreamEvent:
    """
    What happened in the decoding of one answer. The events of an answer come in this order: for each hop its tokens,
    its query and its passages; then the tokens of the rest, the answer, and `done`.

    Attributes:
        type (`str`): `"token"`, `"query"`, `"passages"`, `"answer"` or `"done"`, one for each subclass.
    """

    type: ClassVar[EventType]

    def to_dict(self) -> dict[str, Any]:
        """`type` and all fields, as plain data that JSON can hold."""
        return {"type": self.type, **{field.name: _plain(getattr(self, field.name)) for field in fields(self)}}


@dataclass(frozen=True)
class TokenEvent(StreamEvent):
    """
    The model wrote a token. Inserted passages are no tokens of the model: they arrive with [`PassagesEvent`].

    Attributes:
        text (`str`): What the token adds to the text; the pieces joined are all that the model wrote. Empty for
            control tokens (the query token, the end of the text) and for a token that ends inside a character, whose
            text comes with a later token.
        token_id (`int`)
        hop (`int`): Retrievals before this token: 0 until the first passage has been inserted.
    """

    type: ClassVar[EventType] = "token"
    text: str
    token_id: int
    hop: int


@dataclass(frozen=True)
class QueryEvent(StreamEvent):
    """
    The model wrote the query token: it is about to search. The token event of the query token comes just before.

    Attributes:
        hop (`int`): 0 for the first retrieval.
        text (`str`): What the retrieval asks for, as `query` in the result.
        probability (`float`, *optional*): Of the query token, by the model's unprocessed logits; `None` where it was
            not computed.
    """

    type: ClassVar[EventType] = "query"
    hop: int
    text: str
    probability: float | None = None


@dataclass(frozen=True)
class PassagesEvent(StreamEvent):
    """
    Passages were found and inserted.

    Attributes:
        hop (`int`): 0 for the first retrieval.
        query (`str`): As `text` of the [`QueryEvent`].
        passages (`Sequence[Mapping]`): Best first, each with `id`, `title`, `text`, `score` and, if it has any,
            `meta`: as in the result.
        inserted_text (`str`): What the model reads of them, without control tokens: passages may be cut to the
            checkpoint's `max_inserted_tokens`.
        inserted_tokens (`int`): Number of tokens inserted, with the tags around them.
    """

    type: ClassVar[EventType] = "passages"
    hop: int
    query: str
    passages: Sequence[Mapping[str, Any]]
    inserted_text: str = ""
    inserted_tokens: int = 0


@dataclass(frozen=True)
class AnswerEvent(StreamEvent):
    """
    The text has ended, and this is its answer.

    Attributes:
        answer (`str`): Empty if the model wrote none.
        answered (`bool`): Whether the model wrote an answer.
        citations (`Sequence[Mapping]`): Where the answer was copied from: `hop`, `passage_id`, and the span (`start`,
            `end`) in the passage's text, in characters.
    """

    type: ClassVar[EventType] = "answer"
    answer: str
    answered: bool
    citations: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class DoneEvent(StreamEvent):
    """
    Nothing follows.

    Attributes:
        usage (`Mapping[str, int]`): As in the result: `prompt_tokens`, `generated_tokens`, ...
        stop_reason (`str`): `"eos"`, `"max_new_tokens"`, `"context_full"` or `"stopping_criteria"`.
        result (`Mapping`): The whole result, equal to that of a call with the same question and options.
    """

    type: ClassVar[EventType] = "done"
    usage: Mapping[str, int]
    stop_reason: str
    result: Mapping[str, Any]


EVENT_CLASSES: dict[str, type[StreamEvent]] = {
    event.type: event for event in (TokenEvent, QueryEvent, PassagesEvent, AnswerEvent, DoneEvent)
}
"""Type → class, in the order in which they come."""


def _plain(value: Any) -> Any:
    """Mappings and sequences as `dict` and `list`, down to the leaves."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
