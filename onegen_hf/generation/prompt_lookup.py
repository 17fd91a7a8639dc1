"""Prompt lookup: drafts tokens that are likely to come next because they followed the same words before."""

from __future__ import annotations

from collections.abc import Collection
from itertools import takewhile

import torch
from transformers import GenerationConfig
from transformers.generation.candidate_generator import PromptLookupCandidateGenerator

from .state import RowState

MATCHED_NGRAM = 2
"""Default of `max_matching_ngram_size`: tokens that must match before their continuation is drafted."""


class Drafter:
    """
    Drafts the next tokens of a row from its own text: questions name entities of earlier passages, answers copy from
    the last passage. The model reads a draft together with the token before it and keeps what it would have written
    anyway. The text is the same and takes fewer forwards.

    Args:
        num_tokens (`int`): Tokens drafted per forward, shared by the rows. Drafts are cheap because a forward reads
            the weights once for all its tokens; additional rows use up that advantage just as drafts do.
        ngram (`int`): Longest n-gram that is looked up; shorter ones are tried next, down to one token.
        never (`Collection[int]`): Tokens that are never drafted: those that end a text or retrieve.

    References:
        Prompt lookup decoding, https://github.com/apoorvumang/prompt-lookup-decoding, as in transformers'
        `prompt_lookup_num_tokens`.
    """

    def __init__(self, num_tokens: int, ngram: int, never: Collection[int]) -> None:
        if num_tokens < 1:
            raise ValueError(f"prompt_lookup_num_tokens={num_tokens} must be at least 1: leave it out for no drafts")
        if ngram < 1:
            raise ValueError(f"max_matching_ngram_size={ngram} must be at least 1 token")
        self.num_tokens = num_tokens
        self.ngram = ngram
        self.never = frozenset(never)

    @classmethod
    def from_config(cls, config: GenerationConfig, never: Collection[int]) -> Drafter | None:
        """The drafter of a generation config; `None` if `prompt_lookup_num_tokens` is not set."""
        if config.prompt_lookup_num_tokens is None:
            return None
        ngram = config.max_matching_ngram_size
        return cls(config.prompt_lookup_num_tokens, MATCHED_NGRAM if ngram is None else ngram, never)

    def draft(self, row: RowState, rows: int, room: int) -> list[int]:
        """
        Args:
            row ([`RowState`])
            rows (`int`): Number of rows that share the drafted tokens.
            room (`int`): Maximum number of tokens that can be used.

        Returns:
            `list[int]`: Empty if the row's last tokens did not occur before.
        """
        size = min(self.num_tokens // rows, room)
        if size < 1:
            return []
        known = len(row.ids)
        generator = PromptLookupCandidateGenerator(
            num_output_tokens=size, max_matching_ngram_size=self.ngram, max_length=known + size + 1
        )
        candidates, _ = generator.get_candidates(torch.tensor([row.ids]))
        return list(takewhile(lambda token: token not in self.never, candidates[0, known:].tolist()))
