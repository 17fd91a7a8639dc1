"""The state of one text during linking, and the output."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor
from transformers.utils import ModelOutput

from ..generation import RowState, Usage
from .copying import CopyRule
from .markup import Span
from .rewriting import RewriteRule


@dataclass
class LinkingRow(RowState):
    """
    A text while it is copied.

    Attributes:
        rule ([`CopyRule`] or [`RewriteRule`])
        query_positions (`list[int]`): Positions of query tokens in `pending`.
        queries_read (`int`): Query tokens that have gone through the decoder, drafts that were not kept left out.
        query_states (`list[Tensor]`): The last hidden state at each of them, of shape `(hidden,)`.
        spans (`list[tuple[int, int]]`): The mentions, in code points of the text. Set at the end.
        embeddings (`list[Tensor]`): The hidden state at the query token of each mention. Set at the end.
        aligned (`bool`): Whether the output equals the text. Set at the end; always `True` for a complete copy.
        unread (`int`): Tokens at the end, the end token aside, that did not go through the decoder: nothing was chosen
            after them.
        mentions_stopped (`str`, *optional*): `"context_full"` if no room was left to mark more mentions.
    """

    rule: CopyRule | RewriteRule = field(default=None, repr=False)  # type: ignore[assignment]
    query_positions: list[int] = field(default_factory=list, repr=False)
    queries_read: int = field(default=0, repr=False)
    query_states: list[Tensor] = field(default_factory=list, repr=False)
    spans: list[Span] = field(default_factory=list)
    embeddings: list[Tensor] = field(default_factory=list, repr=False)
    aligned: bool = False
    unread: int = 0
    mentions_stopped: str | None = None

    @classmethod
    def under(cls, rule: CopyRule | RewriteRule, number: int, prompt: list[int]) -> LinkingRow:
        """A row before its first forward that follows a rule."""
        return cls(number, list(prompt), list(prompt), Usage(prompt_tokens=len(prompt)), rule=rule)

    def write(self, token: int, log_probability: float | None = None) -> None:
        """Append a chosen or forced token, to be fed with the other pending ones."""
        self.rule.advance(token)
        self.ids.append(token)
        self.usage.generated_tokens += 1
        if self.rule.done:
            return  # Nothing is read after the end token, so it need not go through the decoder.
        if token == self.rule.markup.query:
            self.query_positions.append(len(self.pending))
        self.pending.append(token)

    def take_pending(self) -> None:
        super().take_pending()
        self.queries_read += len(self.query_positions)
        self.query_positions = []

    def take_back(self, tokens: int) -> int:
        """
        Remove the last tokens, and read the one before them again, for what else may follow it.

        Returns:
            `int`: Number of tokens that were read in vain.
        """
        read = len(self.ids) - len(self.pending)
        del self.ids[-tokens:]
        self.usage.generated_tokens -= tokens
        self.pending, self.query_positions = self.ids[-1:], []
        in_vain = read - (len(self.ids) - 1)
        self.usage.rejected_tokens += in_vain
        return in_vain

    def finish(self) -> None:
        """Set the mentions whose embeddings are known."""
        known = [(span, number) for span, number in self.rule.mentions() if number < len(self.query_states)]
        self.spans = [span for span, _ in known]
        self.embeddings = [self.query_states[number] for _, number in known]
        self.aligned = self.rule.aligned


@dataclass
class LinkingOutput(ModelOutput):
    """
    Output of [`LinkingDecoder`].

    Attributes:
        sequences (`Tensor` of shape `(batch, length)`): Left-padded prompts and generated tokens, right-padded.
        rows (`list[LinkingRow]`): Spans, embeddings, ids, usage and stop reason of each row.
    """

    sequences: Tensor | None = None
    rows: list[Any] | None = None
