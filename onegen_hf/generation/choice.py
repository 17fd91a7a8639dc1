"""Choosing the next token of each row with transformers' logits processors and stopping criteria."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessorList, StoppingCriteriaList
from transformers.generation import logits_process, stopping_criteria

from .state import RowState

# These look at the scores alone, so all rows go through them at once.
_IGNORES_IDS = tuple(
    getattr(logits_process, name)
    for name in (
        "TemperatureLogitsWarper", "TopKLogitsWarper", "TopPLogitsWarper", "MinPLogitsWarper", "TypicalLogitsWarper",
        "EpsilonLogitsWarper", "EtaLogitsWarper", "TopHLogitsWarper", "InfNanRemoveLogitsProcessor",
        "LogitNormalization", "SuppressTokensLogitsProcessor",
    )
    if hasattr(logits_process, name)
)  # fmt: skip
# These look at the number of columns alone. `generate` made them for the width of the padded prompts, so they must see
# rows of that width.
_COUNTS_WIDTH = tuple(
    getattr(logits_process, name)
    for name in (
        "MinLengthLogitsProcessor", "MinNewTokensLengthLogitsProcessor", "ForcedBOSTokenLogitsProcessor",
        "ForcedEOSTokenLogitsProcessor", "ExponentialDecayLengthPenalty", "SuppressTokensAtBeginLogitsProcessor",
    )
    if hasattr(logits_process, name)
)  # fmt: skip
# The loop itself watches these two: passages that were inserted do not count as new tokens.
_WATCHED_BY_LOOP = (stopping_criteria.MaxLengthCriteria, stopping_criteria.EosTokenCriteria)


def _ban(scores: Tensor, places: Any) -> Tensor:
    if places is not None:
        scores[places] = -torch.inf
    return scores


def _places(banned: Sequence[Sequence[int]] | Tensor, device: torch.device) -> Any:
    """What is banned as an index, so that all rows are one operation; `None` if nothing is."""
    if isinstance(banned, Tensor):
        return banned.to(device)
    pairs = [(row, token) for row, tokens in enumerate(banned) for token in tokens]
    if not pairs:
        return None
    return torch.tensor(pairs, device=device).unbind(dim=1)


class TokenSampler:
    """
    Greedy or sampled choice, row by row as if each were alone.

    Processors see a row's own ids without padding. Those that compare lengths with the prompt's see as many tokens as
    `generate` told them about: the padded prompt and what was generated, without retrieved text.

    Args:
        processors (`LogitsProcessorList`): As `generate` prepared them.
        criteria (`StoppingCriteriaList`): Likewise.
        do_sample (`bool`)
        pad_token_id (`int`)
        prompt_width (`int`): Columns of the padded prompts.
    """

    def __init__(
        self,
        processors: LogitsProcessorList,
        criteria: StoppingCriteriaList,
        do_sample: bool,
        pad_token_id: int,
        prompt_width: int,
    ) -> None:
        self.processors = processors
        self.criteria = [criterion for criterion in criteria if not isinstance(criterion, _WATCHED_BY_LOOP)]
        self.do_sample = do_sample
        self.pad_token_id = pad_token_id
        self.prompt_width = prompt_width

    def choose(
        self, rows: Sequence[RowState], logits: Tensor, banned: Sequence[Sequence[int]] | Tensor
    ) -> tuple[list[int], Tensor]:
        """
        Args:
            rows (`Sequence[RowState]`)
            logits (`Tensor` of shape `(rows, vocab)`): float32; changed in place.
            banned (`Sequence[Sequence[int]]`, or bool `Tensor` of shape `(rows, vocab)`): What each row must not take.

        Returns:
            `tuple[list[int], Tensor]`: The tokens, and the processed scores of shape `(rows, vocab)`.
        """
        # Before the processors, so that top-k and top-p choose among what is allowed; after them, so that none can
        # bring a banned token back.
        places = _places(banned, logits.device)
        scores = _ban(logits, places)
        for processor in self.processors:
            scores = self._apply(processor, rows, scores)
        scores = _ban(scores, places)
        if self.do_sample:
            tokens_chosen = torch.multinomial(scores.softmax(dim=-1), num_samples=1)[:, 0]
        else:
            tokens_chosen = scores.argmax(dim=-1)
        return tokens_chosen.tolist(), scores

    def stops(self, row: RowState, scores: Tensor) -> bool:
        """Whether a stopping criterion of the caller ends the row; `scores` has the shape `(vocab,)`."""
        if not self.criteria:
            return False
        ids = torch.tensor([row.ids], device=scores.device)
        return any(bool(torch.as_tensor(criterion(ids, scores.unsqueeze(0))).all()) for criterion in self.criteria)

    def _apply(self, processor: Any, rows: Sequence[RowState], scores: Tensor) -> Tensor:
        if isinstance(processor, _IGNORES_IDS):
            return processor(torch.empty(len(rows), 0, dtype=torch.int64, device=scores.device), scores)
        if isinstance(processor, _COUNTS_WIDTH):
            return self._apply_by_width(processor, rows, scores)
        processed = []
        for number, row in enumerate(rows):
            own = self._for_row(processor, row)
            processed.append(own(torch.tensor([row.ids], device=scores.device), scores[number : number + 1]))
        return torch.cat(processed)

    def _apply_by_width(self, processor: Any, rows: Sequence[RowState], scores: Tensor) -> Tensor:
        """One call for all rows that have generated equally many tokens: mostly all of them."""
        numbers: dict[int, list[int]] = {}
        for number, row in enumerate(rows):
            numbers.setdefault(self.prompt_width + row.usage.generated_tokens, []).append(number)
        for width, own in numbers.items():
            columns = torch.full((len(own), width), self.pad_token_id, device=scores.device)
            if len(numbers) == 1:
                return processor(columns, scores)
            scores[own] = processor(columns, scores[own])
        return scores

    def _for_row(self, processor: Any, row: RowState) -> Any:
        """The processor as it would be for a batch of this row alone, where it looks at the place in the batch."""
        if isinstance(processor, logits_process.RepetitionPenaltyLogitsProcessor):
            ignored = processor.prompt_ignore_length
            if ignored is not None:
                # Counted in columns of the padded prompts, and `generate` sets it to skip just the padding.
                columns = ignored if isinstance(ignored, int) else int(ignored[row.number])
                padding = self.prompt_width - row.usage.prompt_tokens
                return type(processor)(processor.penalty, prompt_ignore_length=max(columns - padding, 0))
        if isinstance(processor, logits_process.PrefixConstrainedLogitsProcessor):
            allowed = processor._prefix_allowed_tokens_fn
            return type(processor)(lambda _, ids: allowed(row.number, ids), num_beams=1)
        return processor
