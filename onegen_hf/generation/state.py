"""One row of a running generation, and the record of what happened in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass, field
from typing import Any, Self

import torch
from torch import Tensor
from transformers.utils import ModelOutput

from ..data.passages import Passage
from ..filters import PassageFilter


@dataclass(frozen=True)
class Hit:
    """A retrieved passage with its cosine similarity and its row in the index."""

    passage: Passage
    score: float
    row: int


@dataclass
class Retrieval:
    """
    One hop.

    Attributes:
        hop (`int`): 0 for the first.
        position (`int`): Position of the query token, counted from the row's first token.
        hits (`list[Hit]`): Best first.
        inserted (`int`): Tokens that were inserted after the query token.
        embedding (`Tensor` of shape `(hidden,)`): The last hidden state at the query token.
        probability (`float`, *optional*): Of the query token; see `query_probability` of [`RowState`].
    """

    hop: int
    position: int
    hits: list[Hit]
    inserted: int
    embedding: Tensor = field(repr=False)
    probability: float | None = None


@dataclass(frozen=True)
class RetrievalDecision:
    """
    Whether a row retrieved at one of its [`DecisionPoints`].

    Attributes:
        position (`int`): Of the token that was decided on, counted from the row's first token.
        probability (`float`): Of a retrieval, by the model's unprocessed logits.
        retrieves (`bool`)
    """

    position: int
    probability: float
    retrieves: bool


@dataclass
class Usage:
    """
    Token counts of one row, counted when the tokens are fed.

    Attributes:
        prompt_tokens (`int`)
        generated_tokens (`int`): Chosen by the model, including query tokens and the end token.
        retrieved_tokens (`int`): Tokens of inserted passages, including their tags.
        forwarded_tokens (`int`): Positions that went through the decoder, without padding.
        forward_calls (`int`): Forwards that the row took part in.
        rejected_tokens (`int`): Drafted tokens that were forwarded but not kept. A row forwards these, its prompt, the
            retrieved tokens, and all generated tokens but the last.
    """

    prompt_tokens: int = 0
    generated_tokens: int = 0
    retrieved_tokens: int = 0
    forwarded_tokens: int = 0
    forward_calls: int = 0
    rejected_tokens: int = 0

    def to_dict(self) -> dict[str, int]:
        """As a plain dict."""
        return asdict(self)

    def __add__(self, other: Usage) -> Usage:
        return Usage(*(left + right for left, right in zip(astuple(self), astuple(other), strict=True)))


@dataclass
class RowState:
    """
    A row during generation.

    Attributes:
        ids (`list[int]`): Prompt, generated and inserted tokens in order, without padding.
        pending (`list[int]`): The tail of `ids` that has not been fed yet.
        stop_reason (`str`, *optional*): `"eos"`, `"max_new_tokens"`, `"context_full"` or `"stopping_criteria"`; with
            critique also `"max_segments"`.
        retrieval_stopped (`str`, *optional*): Why no further passage could be retrieved: `"max_hops"`,
            `"context_full"`, `"never"`, with critique also `"max_segments"`, or `None` if the row could still
            retrieve.
        query_probability (`float`, *optional*): Of a retrieval at the last decision point, by the model's unprocessed
            logits; `None` where the decoder did not compute it. See [`DecisionPoints`].
        decisions (`list[RetrievalDecision]`): All decision points so far whose probability was computed.
        log_probabilities (`list[float | None]`): Of each generated token, by the model's unprocessed logits; `None`
            where the decoder did not compute it, or wrote another token than the one chosen.
        waiting (`bool`): Whether the row takes no part in the steps of a loop for now.
        generator (`torch.Generator`, *optional*): The row's random numbers; by default torch's global ones.
        filter ([`PassageFilter`], *optional*): Which passages its retrievals may find.
        question (`str`): What it is about, for a search by words before the model has written anything.
    """

    number: int
    ids: list[int]
    pending: list[int]
    usage: Usage
    retrievals: list[Retrieval] = field(default_factory=list)
    stop_reason: str | None = None
    retrieval_stopped: str | None = None
    query_probability: float | None = None
    decisions: list[RetrievalDecision] = field(default_factory=list, repr=False)
    log_probabilities: list[float | None] = field(default_factory=list, repr=False)
    waiting: bool = False
    generator: torch.Generator | None = field(default=None, repr=False)
    filter: PassageFilter | None = None
    question: str = field(default="", repr=False)

    @classmethod
    def start(cls, number: int, prompt: list[int]) -> Self:
        """A row before its first forward."""
        return cls(number, list(prompt), list(prompt), Usage(prompt_tokens=len(prompt)))

    def written_spans(self) -> list[tuple[int, int]]:
        """
        The spans of ids that the model wrote: before the first insertion, between insertions, and after the last.

        Returns:
            `list[tuple[int, int]]`: One pair (start, stop) per hop, without the query token, and one for the rest.
        """
        starts = [self.usage.prompt_tokens, *(hop.position + 1 + hop.inserted for hop in self.retrievals)]
        stops = [*(hop.position for hop in self.retrievals), len(self.ids)]
        return list(zip(starts, stops, strict=True))

    def decide(self, probability: float | None, retrieves: bool) -> None:
        """Record the decision on the token that comes next."""
        assert probability is not None
        self.query_probability = probability
        self.decisions.append(RetrievalDecision(len(self.ids), probability, retrieves))

    def log_probability(self, number: int) -> float | None:
        """The log-probability of a generated token, by its place among them; `None` if it is unknown."""
        return self.log_probabilities[number] if number < len(self.log_probabilities) else None

    def write(self, token: int, log_probability: float | None = None) -> None:
        """Append a generated token, with its log-probability if that is known."""
        self.ids.append(token)
        self.pending.append(token)
        self.log_probabilities.append(log_probability)
        self.usage.generated_tokens += 1

    def insert(self, tokens: list[int]) -> None:
        """Append retrieved text."""
        self.ids += tokens
        self.pending = list(tokens)
        self.usage.retrieved_tokens += len(tokens)

    def count_forward(self, drafts: int = 0) -> None:
        """Record that `pending`, followed by `drafts` drafted tokens, went through the decoder."""
        self.usage.forwarded_tokens += len(self.pending) + drafts
        self.usage.forward_calls += 1
        self.take_pending()

    def take_pending(self) -> None:
        """Record that the model has read `pending`, in this forward or as a draft."""
        self.pending = []


def as_sequences(rows: Sequence[RowState], width: int, pad_token_id: int) -> Tensor:
    """
    The ids of rows as `generate` returns them.

    Args:
        rows (`Sequence[RowState]`): At least one.
        width (`int`): Columns of the padded prompts.
        pad_token_id (`int`)

    Returns:
        `Tensor` of shape `(rows, length)`, int64: Left-padded prompts, then all further tokens, right-padded.
    """
    padded = [[*[pad_token_id] * (width - row.usage.prompt_tokens), *row.ids] for row in rows]
    longest = max(len(ids) for ids in padded)
    return torch.tensor([[*ids, *[pad_token_id] * (longest - len(ids))] for ids in padded])


@dataclass
class OnePassOutput(ModelOutput):
    """
    Output of [`OnePassDecoder`] with `return_dict_in_generate=True`.

    Attributes:
        sequences (`Tensor` of shape `(batch, length)`): As `generate` returns them: left-padded prompts, then
            generated and inserted tokens, right-padded.
        rows (`list[RowState]`): Ids, retrievals, usage and stop reason of each row.
    """

    sequences: Tensor | None = None
    rows: list[Any] | None = None
