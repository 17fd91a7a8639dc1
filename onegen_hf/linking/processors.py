"""
The rules of entity linking as logits processors for transformers' decoding: greedy, sampling, beams, batches.

The allowed tokens of a row depend only on its ids, so a beam search may reorder and copy rows freely.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import LogitsProcessor

from .copying import CopyRule
from .markup import MentionMarkup, Span


class LinkContinuationProcessor(LogitsProcessor):
    """
    Forces `[CON]` after `[LK]` (paper section 3.4).

    Args:
        markup ([`MentionMarkup`])

    Example:

    ```python
    >>> model.generate(**inputs, logits_processor=[LinkContinuationProcessor(markup)], num_beams=4)
    ```
    """

    def __init__(self, markup: MentionMarkup) -> None:
        self.query, self.continuation = markup.query, markup.continuation

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """
        Args:
            input_ids (`Tensor` of shape `(rows, length)`)
            scores (`Tensor` of shape `(rows, vocab)`): Logits or log-probabilities.

        Returns:
            `Tensor` of shape `(rows, vocab)`: A forced `[CON]` has the score 0 and therefore costs a beam nothing.
        """
        forced = torch.full_like(scores, -torch.inf)
        forced[:, self.continuation] = 0.0
        return torch.where((input_ids[:, -1] == self.query).unsqueeze(1), forced, scores)


class CopyProcessor(LogitsProcessor):
    """
    Allows only the text and its marks.

    Scores become log-probabilities over the legal tokens. Forced tokens therefore cost nothing, and a beam's score is
    that of its annotation.

    Args:
        rules (`Sequence[CopyRule]`): One per text, before its first token. Each has the same number of consecutive
            rows, as `generate` lays out beams and returned sequences.
        prompt_length (`int`): Columns of the padded prompts.
        context (`int`, *optional*): Maximum number of columns. No mention is opened that would leave no room for the
            rest of the text.
        opening_bias (`float`, *optional*, defaults to 0.0): Added to the score of every token that opens a mention.

    Raises:
        `ValueError`: If the number of rows does not fit the texts, or a row is not a copy of its text.

    Example:

    ```python
    >>> rules = [CopyRule(markup, text, tokenizer.eos_token_id) for text in texts]
    >>> copying = CopyProcessor(rules, inputs["input_ids"].shape[1])
    >>> sequences = model.generate(**inputs, logits_processor=[copying], num_beams=4, max_new_tokens=400)
    >>> copying.spans_of(sequences)
    [[(0, 3)], []]
    ```
    """

    def __init__(
        self,
        rules: Sequence[CopyRule],
        prompt_length: int,
        context: int | None = None,
        opening_bias: float = 0.0,
    ) -> None:
        if not rules:
            raise ValueError("rules is empty: give one `CopyRule` for each text")
        self.rules = [rule.fork() for rule in rules]
        self.prompt_length = prompt_length
        self.context = context
        self.opening_bias = opening_bias
        # Rules of the previous step, by text number and what was written.
        self._known: dict[tuple[int, tuple[int, ...]], CopyRule] = {}

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """
        Args:
            input_ids (`Tensor` of shape `(rows, length)`)
            scores (`Tensor` of shape `(rows, vocab)`): Logits or log-probabilities.

        Returns:
            `Tensor` of shape `(rows, vocab)`: Log-probabilities, `-inf` for illegal tokens. A finished row may only
            emit the end token.
        """
        room = None if self.context is None else self.context - input_ids.shape[1]
        illegal = torch.ones_like(scores, dtype=torch.bool)
        known = {}
        if self.opening_bias:
            scores = scores.clone()
        for row, (number, written) in enumerate(self._written(input_ids)):
            rule = known[number, written] = self._rule(number, written)
            illegal[row, rule.allowed_tokens(rule.leaves_room(room)) or [rule.end_token]] = False
            if self.opening_bias and not rule.done:
                scores[row, rule.opening_tokens()] += self.opening_bias
        self._known = known
        return scores.masked_fill(illegal, -torch.inf).log_softmax(dim=-1)

    def spans_of(self, sequences: Tensor) -> list[list[Span]]:
        """
        The mentions in what was generated.

        Args:
            sequences (`Tensor` of shape `(rows, length)`): As `generate` returned them.

        Returns:
            `list[list[tuple[int, int]]]`: For each row, in code points of its text.
        """
        return [self._rule(number, written).spans for number, written in self._written(sequences)]

    def _written(self, input_ids: Tensor) -> list[tuple[int, tuple[int, ...]]]:
        each, rest = divmod(len(input_ids), len(self.rules))
        if rest or not each:
            raise ValueError(
                f"there are {len(input_ids)} rows and {len(self.rules)} rules: give one `CopyRule` per prompt"
            )
        rows = input_ids[:, self.prompt_length :].tolist()
        return [(row // each, tuple(ids)) for row, ids in enumerate(rows)]

    def _rule(self, number: int, written: tuple[int, ...]) -> CopyRule:
        before = self._known.get((number, written[:-1])) if written else None
        rule = (before or self.rules[number]).fork()
        for token in written[-1:] if before else written:
            if rule.done:  # what follows is padding
                break
            rule.advance(token)
        return rule
