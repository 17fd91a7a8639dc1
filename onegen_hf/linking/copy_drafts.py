"""`CopyDrafter`: drafts the text that is being copied, which is what comes next unless a mention opens."""

from __future__ import annotations

from .copying import CopyRule
from .state import LinkingRow


class CopyDrafter:
    """
    Drafts the next tokens of the text outside mentions. The model reads them together with the token before them and
    keeps those up to the next mention; the annotation is the same and takes a fraction of the forwards.

    Args:
        num_tokens (`int`): Tokens drafted per forward, shared by the rows.
    """

    def __init__(self, num_tokens: int) -> None:
        self.num_tokens = num_tokens

    def draft(self, row: LinkingRow, rows: int, room: int) -> list[int]:
        """
        Args:
            row ([`LinkingRow`])
            rows (`int`): Number of rows that share the drafted tokens.
            room (`int`): Maximum number of tokens that can be used.
        """
        size = min(self.num_tokens // rows, room)
        return row.rule.copied_next(size) if size > 0 and isinstance(row.rule, CopyRule) else []
