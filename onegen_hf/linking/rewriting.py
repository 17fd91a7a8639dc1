"""`RewriteRule`: the text is written anew without a constraint, and its mentions are found in it afterwards."""

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
    Free rewriting, as the paper decodes: any token may come next, save that `[CON]` follows `[LK]`.

    It is to be used like a [`CopyRule`]. The model may leave out, add and change text; a mention that can't be found
    in the text is dropped.

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
        """Whether what was written is the text, white space around it aside."""
        return self.done and read_markup(self.markup, self.ids)[0].strip() == self.text.strip()

    def mentions(self) -> list[tuple[Span, int]]:
        """Each mention that was found in the text with the number of its query token, from 0."""
        written, found = read_markup(self.markup, self.ids)
        spans = align_spans(written, self.text, [span for span, _ in found])
        return [(span, number) for span, (_, number) in zip(spans, found, strict=True) if span is not None]

    def leaves_room(self, room: int | None) -> bool:
        """The rest of the text is the model's own affair."""
        return True

    def allowed_tokens(self, may_open: bool = True) -> list[int] | None:
        """The tokens of which the next one is, or `None` for all."""
        if self.done:
            return []
        return [self.markup.continuation] if self.ids[-1:] == [self.markup.query] else None

    def advance(self, token: int) -> None:
        """Go on with a token."""
        self.done = token in self.end_tokens
        if not self.done:
            self.ids.append(token)


def read_markup(markup: MentionMarkup, ids: Sequence[int]) -> tuple[str, list[tuple[Span, int]]]:
    """
    Take the marks out of a text that a model wrote.

    Args:
        markup ([`MentionMarkup`])
        ids (`Sequence[int]`): Marks may be missing or stand anywhere.

    Returns:
        `tuple[str, list]`: The text, and each mention that is opened, closed and followed by a query token: its span,
        without white space around it, with the number of the query token, from 0.
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
    """Text and the mark behind it, an empty one at the end."""
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
