"""`RowEvents`: what has happened in a row since it was last looked at, as events."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from typing import Any

from ..generation import RowState
from ..generation.events import AnswerEvent, DoneEvent, PassagesEvent, QueryEvent, StreamEvent, TokenEvent
from .describe import RowDescriber
from .text_pieces import TextPieces


class RowEvents:
    """
    Follows one row. It reads nothing but the row, so any loop that decodes [`RowState`]s can emit the same events:
    after each step, [`~RowEvents.take`] gives what is new.

    Args:
        describer ([`RowDescriber`])
        row ([`RowState`]): Before, while or after it is decoded.
        question (`str`, *optional*): The query of a retrieval before which the model wrote nothing.

    Example:

    ```python
    >>> followed = RowEvents(RowDescriber(tokenizer, model.onegen_config), row, question)
    >>> for _ in loop.steps(decoding, [row]):
    ...     for event in followed.take():
    ...         print(event.to_dict())
    ```
    """

    def __init__(self, describer: RowDescriber, row: RowState, question: str = "") -> None:
        self.describer = describer
        self.row = row
        self.question = question
        self._next = row.usage.prompt_tokens  # the first id that has not been told
        self._hop = 0
        self._pieces = TextPieces(describer.plain_text)
        self._done = False

    def take(self) -> Iterator[StreamEvent]:
        """The events since the last call, in the order in which they happened; none after [`DoneEvent`]."""
        while self._next < len(self.row.ids):
            retrievals = self.row.retrievals
            if self._hop < len(retrievals) and self._next == retrievals[self._hop].position + 1:
                yield self._passages()
            else:
                yield from self._token()
        if self.row.stop_reason is not None and not self._done:
            self._done = True
            result = self.describer.describe(self.row, self.question)
            yield AnswerEvent(result.answer, result.answered, result.citations)
            yield DoneEvent(result.usage, result.stop_reason, result)

    def _token(self) -> Iterator[StreamEvent]:
        token, hop = self.row.ids[self._next], self._hop
        self._next += 1
        is_last = self._next == len(self.row.ids) and self.row.stop_reason is not None
        is_query = token == self.describer.ids.query
        text = "" if token in self.describer.control_tokens else self._pieces.add(token)
        if is_query or is_last:
            text += self._pieces.finish()
        yield TokenEvent(text, token, hop)
        if is_query and not is_last:  # nothing is searched for after the last token
            query = self.describer.query(self.row, hop, self.question)
            yield QueryEvent(hop, query, self._probability())

    def _probability(self) -> float | None:
        retrievals = self.row.retrievals
        return retrievals[self._hop].probability if self._hop < len(retrievals) else self.row.query_probability

    def _passages(self) -> PassagesEvent:
        row, hop = self.row, self._hop
        inserted = row.retrievals[hop].inserted
        event = PassagesEvent(
            hop,
            self.describer.query(row, hop, self.question),
            self.describer.passages(row, hop),
            "\n".join(self.describer.inserted_texts(row, hop)),
            inserted,
        )
        self._next += inserted
        self._hop += 1
        self._pieces = TextPieces(self.describer.plain_text)
        return event


def events_of(
    steps: Generator[list[RowState], None, None],
    describer: RowDescriber,
    question: str = "",
    step_context: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> Generator[StreamEvent, None, None]:
    """
    The events of a run with one row.

    Args:
        steps (`Generator`): Of [`Engine.steps`]; closed at the end, also if the caller stops early.
        describer ([`RowDescriber`])
        question (`str`, *optional*): As for [`RowEvents`].
        step_context (`Callable`, *optional*): Makes a context manager for each step.
    """
    followed = None
    with closing(steps):
        while True:
            with step_context():  # not around the `yield`: it would be the caller's context too
                rows = next(steps, None)
            if rows is None:
                return
            followed = followed or RowEvents(describer, rows[0], question)
            yield from followed.take()
