"""`RewriteRule`: the model rewrites the text without constraints, and the mentions are located afterwards."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence

from data_builders.entity_linking.annotation import MENTION_CLOSE, MENTION_OPEN

from .alignment import align_spans
from .markup import MentionMarkup, Span

_QUERY, _CONTINUATION = "query", "continuation"
_TAG = re.compile(f"({MENTION_OPEN}|{MENTION_CLOSE})")


class RewriteRule:
    """
    Free rewriting, the paper's method: any token may come next, except that `[CON]` must follow `[LK]`.

    It has the interface of a [`CopyRule`]. The model may omit, add and change text; mentions that can't be located in
    the original text are dropped.

    Args:
        markup ([`MentionMarkup`])
        text (`str`)
        end_tokens (`Collection[int]`)
    """

    remaining = 0

    def __init__(self, markup: MentionMarkup, text: str, end_tokens: Collection[int]) -> None:
        self.markup = markup
        self.text = text
        self.end_tokens = end_tokens
        self.ids: list[int] = []
        self.done = False

    @property
    def aligned(self) -> bool:
        """Whether the output equals the text, except for surrounding white space."""
        return self.done and read_markup(self.markup, self.ids)[0].strip() == self.text.strip()

    def mentions(self) -> list[tuple[Span, int]]:
        """Each mention located in the text, with the index of its query token, from 0."""
        written, mentions = read_markup(self.markup, self.ids)
        spans = align_spans(written, self.text, [span for span, _ in mentions])
        return [(span, number) for span, (_, number) in zip(spans, mentions, strict=True) if span is not None]

    def leaves_room(self, room: int | None) -> bool:
        """Always: what remains of the text is unknown."""
        return True

    def allowed_tokens(self, may_open: bool = True) -> list[int] | None:
        """The legal next tokens, or `None` for all."""
        if self.done:
            return []
        return [self.markup.continuation] if self.ids[-1:] == [self.markup.query] else None

    def advance(self, token: int) -> None:
        """Append a token."""
        self.done = token in self.end_tokens
        if not self.done:
            self.ids.append(token)


def read_markup(markup: MentionMarkup, ids: Sequence[int]) -> tuple[str, list[tuple[Span, int]]]:
    """
    Remove the marks from a text that a model wrote.

    Args:
        markup ([`MentionMarkup`])
        ids (`Sequence[int]`): Marks may be missing or misplaced.

    Returns:
        `tuple[str, list]`: The text, and each mention that is opened, closed and followed by a query token: its span,
        without surrounding white space, with the index of the query token, from 0.
    """
    text, mentions, queries = "", list[tuple[Span, int]](), 0
    opened: int | None = None
    closed: Span | None = None
    for piece, mark in _pieces(markup, ids):
        if piece:
            text += piece
            closed = None
        if mark == MENTION_OPEN:
            opened, closed = len(text), None
        elif mark == MENTION_CLOSE:
            closed, opened = None if opened is None else _stripped(text, opened), None
        elif mark == _QUERY:
            if closed is not None:
                mentions.append((closed, queries))
            queries, closed = queries + 1, None
    return text, mentions


def _pieces(markup: MentionMarkup, ids: Sequence[int]) -> Iterator[tuple[str, str]]:
    """Pieces of text, each with the mark that follows it; the last mark is empty."""
    marks = {markup.open: MENTION_OPEN, markup.close: MENTION_CLOSE}
    marks |= {markup.query: _QUERY, markup.continuation: _CONTINUATION}
    piece: list[int] = []
    for token in [*ids, None]:
        if token is not None and token not in marks:
            piece.append(token)
            continue
        text = markup.text_of(piece)
        if markup.open is None:  # tags are text
            *before, text = _TAG.split(text)
            yield from zip(before[::2], before[1::2], strict=True)
        yield text, "" if token is None else marks[token]
        piece = []


def _stripped(text: str, start: int) -> Span | None:
    """The span from `start` to the end of `text`, without white space around it."""
    inner = text[start:]
    span = (start + len(inner) - len(inner.lstrip()), start + len(inner.rstrip()))
    return span if span[0] < span[1] else None
