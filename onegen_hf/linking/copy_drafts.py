"""`CopyDrafter`: drafts the text that is being copied, with marks where mentions are likely."""

from __future__ import annotations

import math

from .copying import CopyRule
from .likely_mentions import LikelyMentions
from .state import LinkingRow

FIRST_DRAFT = 24
"""Most tokens of a row's first draft."""
NEW_NAMES = 2
"""A draft ends where this many names begin that were not marked before: little would be kept of what follows."""


class CopyDrafter:
    """
    Drafts the next tokens of a copy, with the marks of [`LikelyMentions`]. The model reads them together with the
    token before them and keeps those that it would have written anyway; the annotation is the same and takes a
    fraction of the forwards.

    A draft is at most twice as long as what the row wrote with its last one, and a little: where guesses are wrong,
    drafts are short.

    Args:
        num_tokens (`int`): Tokens drafted per forward, shared by the rows.
    """

    def __init__(self, num_tokens: int) -> None:
        self.num_tokens = num_tokens
        self._likely: dict[int, LikelyMentions] = {}
        self._written: dict[int, int] = {}

    def draft(self, row: LinkingRow, rows: int, room: int) -> list[int]:
        """
        Args:
            row ([`LinkingRow`])
            rows (`int`): Number of rows that share the drafted tokens.
            room (`int`): Maximum number of tokens that can be used.
        """
        size = min(self.num_tokens // rows, room)
        if size < 1 or not isinstance(row.rule, CopyRule):
            return []
        if row.number not in self._likely:
            self._likely[row.number] = LikelyMentions(row.rule.text)
            size = min(size, FIRST_DRAFT)
        else:
            progress = row.usage.generated_tokens - self._written[row.number]
            size = min(size, 2 * progress + FIRST_DRAFT // 3)
        self._written[row.number] = row.usage.generated_tokens
        return expected_tokens(row.rule, self._likely[row.number], size, NEW_NAMES)


def expected_tokens(rule: CopyRule, likely: LikelyMentions, size: int, new_names: float = math.inf) -> list[int]:
    """
    The next tokens of a copy if its mentions are those that are likely.

    Args:
        rule ([`CopyRule`]): Stays as it is.
        likely ([`LikelyMentions`]): Of its text.
        size (`int`): Most tokens that are returned; the end token is not among them.
        new_names (`int`, *optional*): The last token opens this many names that were not marked before.
    """
    ends = likely.expected(rule)
    names = {rule.text[start:end] for start, end in rule.spans}
    ahead = rule.fork()
    tokens: list[int] = []
    while len(tokens) < size and not ahead.done and new_names > 0:
        token = ahead.token_toward(ends)
        if token == rule.end_token:
            break
        was_inside = ahead.inside
        ahead.advance(token)
        tokens.append(token)
        start = ahead.inside
        if start is not None and was_inside is None:
            name = rule.text[start : ends.get(start, start)]
            new_names -= name not in names
            names.add(name)
    return tokens
