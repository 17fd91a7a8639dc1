"""Drafts: tokens that probably come next, because they followed the same words before (prompt lookup)."""

from __future__ import annotations

from collections.abc import Collection
from itertools import takewhile

import torch
from transformers import GenerationConfig
from transformers.generation.candidate_generator import PromptLookupCandidateGenerator

from .state import RowState

MATCHED_NGRAM = 2
"""Tokens that must agree before what followed them is drafted, unless `max_matching_ngram_size` says otherwise."""


class Drafter:
    """
    Drafts what rows may write next from what they hold already: a question names what an earlier passage named, an
    answer copies from the last one. The model reads a draft together with the token before it, and keeps what it would
    have written anyway, so that the text is the same and takes fewer forwards.

    Args:
        num_tokens (`int`): Drafted per forward; several rows share them, for what makes drafts cheap is that weights
            are read once for all tokens of a forward, and other rows are as good for that.
        ngram (`int`): Tokens that must have occurred before, at most; then fewer, down to one.
        never (`Collection[int]`): Tokens at which a draft ends: those that end a text or retrieve.

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
        """What `prompt_lookup_num_tokens` and `max_matching_ngram_size` ask for; `None` without the former."""
        if config.prompt_lookup_num_tokens is None:
            return None
        ngram = config.max_matching_ngram_size
        return cls(config.prompt_lookup_num_tokens, MATCHED_NGRAM if ngram is None else ngram, never)

    def draft(self, row: RowState, rows: int, room: int) -> list[int]:
        """
        Args:
            row ([`RowState`])
            rows (`int`): That share the drafted tokens.
            room (`int`): Most tokens that are of use.

        Returns:
            `list[int]`: Empty if nothing like the row's last tokens came before.
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
