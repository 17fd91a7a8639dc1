"""What an answer would have cost without one pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """
    Tokens that went, or would have gone, through the decoder.

    Attributes:
        one_pass (`int`): As it was.
        two_passes (`int`): If the model had read the conversation once more to embed each query, as GritLM does.
        re_reading (`int`): If the text had been read again from its beginning after each retrieval, as with one call
            of `generate` per hop.
    """

    one_pass: int
    two_passes: int
    re_reading: int


def cost_of(forwarded_tokens: int, tokens_at_queries: Sequence[int]) -> Cost:
    """
    Compare one pass with two others that find the same passages (`benchmarks/one_pass.py` measures all three).

    Args:
        forwarded_tokens (`int`): Of the answer, from its `usage`.
        tokens_at_queries (`Sequence[int]`): For each hop, the length of the text up to its query token, including the
            prompt.

    Returns:
        [`Cost`]
    """
    again = sum(tokens_at_queries)
    # Both read the text up to each query once more: the first to embed it, the second to go on from there.
    return Cost(forwarded_tokens, forwarded_tokens + again, forwarded_tokens + again)
