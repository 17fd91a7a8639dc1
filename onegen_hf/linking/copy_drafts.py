"""`CopyDrafter`: drafts the text that is being copied, with marks where mentions are likely."""

from __future__ import annotations

from .copying import CopyRule
from .likely_mentions import LikelyMentions
from .state import LinkingRow


class CopyDrafter:
    """
    Drafts the next tokens of a copy, with the marks of [`LikelyMentions`]. The model reads them together with the
    token before them and keeps those that it would have written anyway; the annotation is the same and takes a
    fraction of the forwards.

    Args:
        num_tokens (`int`): Tokens drafted per forward, shared by the rows.
    """

    def __init__(self, num_tokens: int) -> None:
        self.num_tokens = num_tokens
        self._likely: dict[int, LikelyMentions] = {}

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
        return expected_tokens(row.rule, self._likely[row.number], size)


def expected_tokens(rule: CopyRule, likely: LikelyMentions, size: int) -> list[int]:
    """
    The next tokens of a copy if its mentions are those that are likely.

    Args:
        rule ([`CopyRule`]): Stays as it is.
        likely ([`LikelyMentions`]): Of its text.
        size (`int`): Most tokens that are returned; the end token is not among them.
    """
    ends = likely.expected(rule)
    ahead = rule.fork()
    tokens: list[int] = []
    while len(tokens) < size and not ahead.done:
        token = ahead.token_toward(ends)
        if token == rule.end_token:
            break
        ahead.advance(token)
        tokens.append(token)
    return tokens
