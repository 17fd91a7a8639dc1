"""`CopyRule`: which tokens may come next when a text is copied with its mentions marked."""

from __future__ import annotations

import copy
import os.path
import re
from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from itertools import islice

from .boundaries import find_boundaries
from .markup import MentionMarkup, Span
from .text_parts import TextParts

LOOKAHEAD = 32
"""Upcoming boundaries whose pieces are precomputed; more than a single token can contain."""
DEFAULT_MAX_MENTION_LENGTH = 128
LONGEST_NAME = 10
"""Words of a mention after which it is taken for one that will not be closed; of 6,659 labelled ones 4 have more."""
MOST_DECLINED = 8
"""Openings that are taken back in a text."""
MENTION_RESERVE = 32
"""Free positions, in addition to those of the remaining text, that are required to open a mention."""


_WORD = re.compile(r"\S+")


class CopyRule:
    """
    The legal next tokens while a text is copied with its mentions marked.

    The text between two tags is a piece, tokenized as in training ([`MentionMarkup`]). A piece may end at several
    places, each with a different tokenization. A token is legal if it continues one of these tokenizations, and a tag
    if one of them is complete. Whatever is chosen, the ids are therefore those of *some* annotation of the text, and
    its spans are known without decoding. Mentions that begin inside a token of the plain text need no special case:
    they are reached through a shorter token that ends before them.

    Args:
        markup ([`MentionMarkup`])
        text (`str`)
        end_token (`int`): Legal once the text is copied.
        boundaries (`str`, *optional*, defaults to `"word"`): See [`find_boundaries`].
        max_mention_length (`int`, *optional*, defaults to 128): Maximum length of a mention in code points; a longer
            first word is allowed.
        until (`int`, *optional*): The copy ends, and the end token comes, as soon as every mention that begins before
            this place has been marked. By default, everything is copied.

    Attributes:
        spans (`list[tuple[int, int]]`): The mentions so far, in code points of `text`.
        inside (`int`, *optional*): Where the mention begins that is open.
    """

    def __init__(
        self,
        markup: MentionMarkup,
        text: str,
        end_token: int,
        boundaries: str = "word",
        max_mention_length: int = DEFAULT_MAX_MENTION_LENGTH,
        until: int | None = None,
    ) -> None:
        if max_mention_length < 1:
            raise ValueError(f"max_mention_length={max_mention_length} must be at least 1 code point")
        self.markup = markup
        self.text = text
        self.end_token = end_token
        self.max_mention_length = max_mention_length
        self.until = until
        self.spans: list[Span] = []
        self.done = False
        self._boundaries = find_boundaries(text, boundaries)
        # Shared with forks, which come to the same places.
        self._parts = TextParts(markup, text)
        self._forced: list[int] = []
        self.inside: int | None = None
        self._declined: frozenset[int] = frozenset()
        # The last place where the open mention is still a name, and the piece before it.
        self._longest = 0
        self._opened: tuple[int, list[int]] = 0, []
        # Place where the piece may end (`None`: end of the text) → its ids, including the tag or end token.
        self._paths: dict[int | None, list[int]] = {}
        self._begin_text(0)

    @property
    def remaining(self) -> int:
        """Tokens left to copy if no further mention is marked; 0 inside a mention."""
        return len(self._rest) - self._written if self.inside is None else 0

    @property
    def aligned(self) -> bool:
        """Whether the output equals the text, which is always so once the copy is complete."""
        return self.done

    def mentions(self) -> list[tuple[Span, int]]:
        """Each mention with the index of its query token, from 0."""
        return [(span, number) for number, span in enumerate(self.spans)]

    def leaves_room(self, room: int | None) -> bool:
        """Whether the rest of the text still fits into `room` positions if a mention is opened."""
        return room is None or room >= self.remaining + MENTION_RESERVE

    @property
    def runs_on(self) -> bool:
        """Whether the open mention can only be closed after more words than a name has."""
        return (
            self.inside is not None
            and len(self._declined) < MOST_DECLINED
            and all(place is not None and place > self._longest for place in self._paths)
        )

    def decline(self) -> int:
        """
        Take back the open mention: none may begin at its place any more.

        Returns:
            `int`: Number of tokens taken back, from the one that left the way of the plain text.
        """
        assert self.inside is not None
        inside, (start, opened) = self._written, self._opened
        self._declined |= {self.inside}
        self._begin_text(start)
        copied = list(os.path.commonprefix([opened, self._rest]))
        for token in copied:
            self.advance(token)
        return len(opened) - len(copied) + inside

    def fork(self) -> CopyRule:
        """An independent copy in the same state."""
        other = copy.copy(self)
        other.spans, other._forced, other._paths = list(self.spans), list(self._forced), dict(self._paths)
        return other

    def allowed_tokens(self, may_open: bool = True) -> list[int]:
        """
        The legal next tokens.

        Args:
            may_open (`bool`, *optional*, defaults to `True`): Whether a mention may still be opened.
        """
        if self.done or self._forced:
            return self._forced[:1]
        may_end = may_open or self.inside is not None
        tokens = {ids[self._written]: None for place, ids in self._paths.items() if may_end or place is None}
        # If only a mention-opening path remains, follow it even when may_open is False.
        return list(tokens) or self.allowed_tokens()

    @property
    def next_end(self) -> int | None:
        """The first place where the open mention may still end; `None` where none is open."""
        if self.inside is None:
            return None
        return min((place for place in self._paths if place is not None), default=None)

    def opening_tokens(self) -> list[int]:
        """The legal next tokens that lead to a mention and nowhere else; none on the way to one or inside of one."""
        if self.inside is not None or None not in self._paths:
            return []
        copied = self._paths[None][self._written]
        return [token for token in self.allowed_tokens() if token != copied]

    def has_passed(self, place: int) -> bool:
        """Whether no further mention can begin at a word of the text."""
        if self.inside is not None or place < self._start:
            return place < self._start or place == self.inside
        looked_at = self._boundaries.starts[self._next - 1] if self._next else -1
        return place <= looked_at and place not in self._paths

    def token_toward(self, ends: Mapping[int, int]) -> int:
        """
        The legal next token on the way to an expected mention.

        Args:
            ends (`Mapping[int, int]`): Where expected mentions begin → where they end.

        Returns:
            `int`: If none of them can be marked from here, the token that copies the text without opening a mention,
            and inside of a mention the one that ends it first.
        """
        if self._forced:
            return self._forced[0]
        places = [place for place in self._paths if place is not None]
        if self.inside is None:
            place = min((place for place in places if place in ends), default=None)
            if place is None and None not in self._paths:
                place = min(places)
        else:
            expected = ends.get(self.inside)
            place = expected if expected in self._paths else min(places)
        return self._paths[place][self._written]

    def advance(self, token: int) -> None:
        """
        Append a legal token.

        Raises:
            `ValueError`: If it is not legal.
        """
        if token not in self.allowed_tokens():
            raise ValueError(f"token {token} is not legal here; {self.allowed_tokens()} are")
        if self._forced:
            del self._forced[0]
            self.done = token == self.end_token
            self._end_early()
            return
        self._paths = {place: ids for place, ids in self._paths.items() if ids[self._written] == token}
        self._written += 1
        complete = [place for place, ids in self._paths.items() if len(ids) == self._written]
        places = [place for place in complete if place is not None]
        # If the tokenizer drops characters, several places are complete: choose the shortest mention.
        if self.inside is not None and places:
            self.spans.append((self.inside, min(places)))
            self._begin_text(min(places))
            self._forced = [self.markup.query, self.markup.continuation]
        elif places:
            self._begin_mention(max(places))
        elif complete:
            self.done = True
        else:
            self._look_ahead()
            self._end_early()

    def _end_early(self) -> None:
        """Force the end token once no further mention can begin before `until`."""
        if self.until is None or self.inside is not None or self._forced or self.done:
            return
        starts = self._boundaries.starts
        looked_at = starts[self._next] if self._next < len(starts) else len(self.text)
        if looked_at >= self.until and all(place is None or place >= self.until for place in self._paths):
            self._forced = [self.end_token]

    def _begin_text(self, start: int) -> None:
        self.inside, self._start, self._written = None, start, 0
        self._rest = self._parts.rest(start)
        self._paths = {None: [*self._rest, self.end_token]}
        self._next = bisect_left(self._boundaries.starts, start)
        self._look_ahead()

    def _look_ahead(self) -> None:
        """Precompute the pieces that end at one of the next boundaries and continue what was written."""
        if self.inside is not None or None not in self._paths:
            return
        starts = self._boundaries.starts
        while len(self._paths) <= LOOKAHEAD and self._next < len(starts):
            places = starts[self._next : self._next + LOOKAHEAD]
            self._next += len(places)
            written = self._rest[: self._written]
            for place, ids in zip(places, self._parts.opened(self._start, places), strict=True):
                if place not in self._declined and len(ids) > self._written and ids[: self._written] == written:
                    self._paths[place] = ids

    def _begin_mention(self, start: int) -> None:
        ends = self._boundaries.ends
        first = bisect_right(ends, start)
        last = max(bisect_right(ends, start + self.max_mention_length), first + 1)
        self._opened = self._start, self._paths[start]
        words = _WORD.finditer(self.text, start)
        self._longest = max((word.end() for word in islice(words, LONGEST_NAME)), default=len(self.text))
        self.inside, self._start, self._written = start, start, 0
        places = ends[first:last]
        self._paths = dict(zip(places, self._parts.closed(start, places), strict=True))
