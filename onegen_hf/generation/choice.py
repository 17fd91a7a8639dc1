"""Choosing the next token of each row with transformers' logits processors and stopping criteria."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessorList, StoppingCriteriaList
from transformers.generation import logits_process, stopping_criteria

from .state import RowState

# These depend only on the scores, so one call handles all rows.
_IGNORES_IDS = tuple(
    getattr(logits_process, name)
    for name in (
        "TemperatureLogitsWarper", "TopKLogitsWarper", "TopPLogitsWarper", "MinPLogitsWarper", "TypicalLogitsWarper",
        "EpsilonLogitsWarper", "EtaLogitsWarper", "TopHLogitsWarper", "InfNanRemoveLogitsProcessor",
        "LogitNormalization", "SuppressTokensLogitsProcessor",
    )
    if hasattr(logits_process, name)
)  # fmt: skip
# These depend only on the number of columns. `generate` creates them for the width of the padded prompts, so they must
# see rows of that width.
_COUNTS_WIDTH = tuple(
    getattr(logits_process, name)
    for name in (
        "MinLengthLogitsProcessor", "MinNewTokensLengthLogitsProcessor", "ForcedBOSTokenLogitsProcessor",
        "ForcedEOSTokenLogitsProcessor", "ExponentialDecayLengthPenalty", "SuppressTokensAtBeginLogitsProcessor",
    )
    if hasattr(logits_process, name)
)  # fmt: skip
# The loop checks these two itself, because inserted passages do not count as new tokens.
_WATCHED_BY_LOOP = (stopping_criteria.MaxLengthCriteria, stopping_criteria.EosTokenCriteria)


def _ban(scores: Tensor, places: Any) -> Tensor:
    if places is not None:
        scores[places] = -torch.inf
    return scores


def _places(banned: Sequence[Sequence[int]] | Tensor, device: torch.device) -> Any:
    """The banned tokens as one index for all rows; `None` if nothing is banned."""
    if isinstance(banned, Tensor):
        return banned.to(device)
    pairs = [(row, token) for row, tokens in enumerate(banned) for token in tokens]
    if not pairs:
        return None
    return torch.tensor(pairs, device=device).unbind(dim=1)


def _draw(rows: Sequence[RowState], probabilities: Tensor) -> Tensor:
    """
    One token for each row, from the row's own random numbers if it has any; of shape `(rows,)`. Rows that share a
    generator, as all do that have none, draw together.
    """
    if len({id(row.generator) for row in rows}) == 1:
        return torch.multinomial(probabilities, num_samples=1, generator=rows[0].generator)[:, 0]
    return torch.cat([
        torch.multinomial(own, num_samples=1, generator=row.generator)
        for row, own in zip(rows, probabilities, strict=True)
    ])  # fmt: skip


class TokenSampler:
    """
    Greedy or sampled choice; each row is treated as if it were alone.

    Processors see a row's ids without padding. Those that compare lengths with the prompt's see the number of tokens
    that `generate` created them for: the padded prompt and the generated tokens, without retrieved text.

    Args:
        processors (`LogitsProcessorList`): As `generate` prepared them.
        criteria (`StoppingCriteriaList`): Likewise.
        do_sample (`bool`)
        pad_token_id (`int`)
        prompt_width (`int`): Columns of the padded prompts.
        log_probabilities (`bool`, *optional*, defaults to `False`): Compute the log-probability of each chosen token.
    """

    def __init__(
        self,
        processors: LogitsProcessorList,
        criteria: StoppingCriteriaList,
        do_sample: bool,
        pad_token_id: int,
        prompt_width: int,
        log_probabilities: bool = False,
    ) -> None:
        self.processors = processors
        self.criteria = [criterion for criterion in criteria if not isinstance(criterion, _WATCHED_BY_LOOP)]
        self.do_sample = do_sample
        self.pad_token_id = pad_token_id
        self.prompt_width = prompt_width
        self.log_probabilities = log_probabilities

    def choose(
        self, rows: Sequence[RowState], logits: Tensor, banned: Sequence[Sequence[int]] | Tensor
    ) -> tuple[list[int], list[float | None], Tensor]:
        """
        Args:
            rows (`Sequence[RowState]`)
            logits (`Tensor` of shape `(rows, vocab)`): float32; changed in place.
            banned (`Sequence[Sequence[int]]`, or bool `Tensor` of shape `(rows, vocab)`): Tokens that a row must
                not choose.

        Returns:
            `tuple[list[int], list[float | None], Tensor]`: The tokens; the log-probability of each by the model's
            unprocessed logits, `None` without `log_probabilities`; and the processed scores of shape `(rows, vocab)`.
        """
        if self.log_probabilities:
            normalizers = logits.logsumexp(dim=-1)  # (rows,)
            # A ban leaves the chosen logit as it is, but a processor may write into its input.
            raw = logits.clone() if self.processors else logits
        # Before the processors, so that top-k and top-p choose among allowed tokens; after them, so that no processor
        # can bring back a banned token.
        places = _places(banned, logits.device)
        scores = _ban(logits, places)
        for processor in self.processors:
            scores = self._apply(processor, rows, scores)
        scores = _ban(scores, places)
        if self.do_sample:
            tokens_chosen = _draw(rows, scores.softmax(dim=-1))
        else:
            tokens_chosen = scores.argmax(dim=-1)
        if not self.log_probabilities:
            return tokens_chosen.tolist(), [None] * len(rows), scores
        log_probabilities = raw.gather(-1, tokens_chosen.unsqueeze(-1))[:, 0] - normalizers  # (rows,)
        # Both leave the device together, since each transfer waits for it. float32 holds ids below 2**24 exactly.
        ids, values = torch.stack([tokens_chosen.to(logits.dtype), log_probabilities]).tolist()
        return [int(token) for token in ids], values, scores

    @property
    def takes_the_best(self) -> bool:
        """Whether the logits of the tokens that may come next are all that a choice depends on."""
        return not (self.do_sample or self.processors or self.criteria or self.log_probabilities)

    def stops(self, row: RowState, scores: Tensor) -> bool:
        """Whether one of the caller's stopping criteria ends the row; `scores` has the shape `(vocab,)`."""
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
        for place, row in enumerate(rows):
            row_processor = self._for_row(processor, row)
            ids = torch.tensor([row.ids], device=scores.device)
            processed.append(row_processor(ids, scores[place : place + 1]))
        return torch.cat(processed)

    def _apply_by_width(self, processor: Any, rows: Sequence[RowState], scores: Tensor) -> Tensor:
        """One call for all rows with the same number of generated tokens, usually all rows."""
        places_of_width: dict[int, list[int]] = {}
        for place, row in enumerate(rows):
            places_of_width.setdefault(self.prompt_width + row.usage.generated_tokens, []).append(place)
        for width, places in places_of_width.items():
            columns = torch.full((len(places), width), self.pad_token_id, device=scores.device)
            if len(places_of_width) == 1:
                return processor(columns, scores)
            scores[places] = processor(columns, scores[places])
        return scores

    def _for_row(self, processor: Any, row: RowState) -> Any:
        """The processor for a batch of this row alone, if it depends on the place in the batch."""
        if isinstance(processor, logits_process.RepetitionPenaltyLogitsProcessor):
            ignored = processor.prompt_ignore_length
            if ignored is not None:
                # It counts columns of the padded prompts; `generate` uses it to skip the padding.
                columns = ignored if isinstance(ignored, int) else int(ignored[row.number])
                padding = self.prompt_width - row.usage.prompt_tokens
                return type(processor)(processor.penalty, prompt_ignore_length=max(columns - padding, 0))
        if isinstance(processor, logits_process.PrefixConstrainedLogitsProcessor):
            allowed = processor._prefix_allowed_tokens_fn
            return type(processor)(lambda _, ids: allowed(row.number, ids), num_beams=1)
        return processor
