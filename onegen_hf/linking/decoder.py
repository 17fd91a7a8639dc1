"""`LinkingDecoder`: the decoding loop that copies a text and marks its mentions, a `custom_generate`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList
from transformers.utils import ModelOutput

from ..auto import context_length
from ..generation import RowState
from ..generation.choice import TokenChooser
from ..generation.decoder import check_supported
from ..generation.memory import memory_for
from ..generation.state import as_sequences
from .copying import DEFAULT_MAX_MENTION_LENGTH, CopyRule
from .markup import MentionMarkup, Span

MENTION_RESERVE = 32
"""Free positions, beside those of the text that is left, below which no further mention is opened."""


@dataclass
class LinkingRow(RowState):
    """
    A text while it is copied.

    Attributes:
        rule ([`CopyRule`], *optional*)
        embeddings (`list[Tensor]`): The last hidden state at each query token so far, of shape `(hidden,)`.
        mentions_stopped (`str`, *optional*): `"context_full"` if no room was left to mark more mentions.
    """

    rule: CopyRule | None = None
    embeddings: list[Tensor] = field(default_factory=list, repr=False)
    mentions_stopped: str | None = None

    @property
    def spans(self) -> list[Span]:
        """The mentions whose embeddings are known."""
        assert self.rule is not None
        return self.rule.spans[: len(self.embeddings)]

    def write(self, token: int) -> None:
        """Append a token, chosen or forced, that waits to be fed with those before it."""
        assert self.rule is not None
        self.rule.take(token)
        self.ids.append(token)
        self.usage.generated_tokens += 1
        # Nothing is read after the end token, so it need not go through the decoder.
        if not self.rule.done:
            self.pending.append(token)


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


class LinkingDecoder:
    """
    Greedy or sampled decoding that copies each row's text and marks its mentions (paper section 3, entity linking).

    The model chooses where mentions begin and end, and nothing else: every token it may emit is legal under a
    [`CopyRule`]. Where only one is, it is not asked, and the forced tokens go through the decoder together with the
    next ones. The hidden state at each `[LK]` is kept as it comes by; nothing is searched before the end. A row
    forwards its prompt and its generated tokens but the end token, each once, whatever the number of mentions.

    Args:
        markup ([`MentionMarkup`])
        texts (`Sequence[str]`): The text of each row.
        boundaries (`str`, *optional*, defaults to `"word"`): See [`find_boundaries`].
        max_mention_length (`int`, *optional*, defaults to 128): Code points.

    Example:

    ```python
    >>> markup = MentionMarkup(tokenizer, model.onegen_config)
    >>> prompt = torch.tensor([markup.prompt(text, instruction)])
    >>> output = model.generate(prompt, custom_generate=LinkingDecoder(markup, [text]), return_dict_in_generate=True)
    >>> output.rows[0].spans
    [(0, 3)]
    ```
    """

    def __init__(
        self,
        markup: MentionMarkup,
        texts: Sequence[str],
        boundaries: str = "word",
        max_mention_length: int = DEFAULT_MAX_MENTION_LENGTH,
    ) -> None:
        self.markup = markup
        self.texts = list(texts)
        self.boundaries = boundaries
        self.max_mention_length = max_mention_length

    @torch.no_grad()
    def __call__(
        self,
        model: Any,
        input_ids: Tensor,
        logits_processor: LogitsProcessorList,
        stopping_criteria: StoppingCriteriaList,
        generation_config: GenerationConfig,
        streamer: Any = None,
        **model_kwargs: Any,
    ) -> LinkingOutput | Tensor:
        """Called by `generate`; see its documentation for the arguments."""
        batch_size, width = input_ids.shape
        check_supported(model, generation_config, model_kwargs, streamer, batch_size)
        if streamer is not None:
            raise ValueError("streamer is not supported by LinkingDecoder: leave it out")
        if batch_size != len(self.texts):
            raise ValueError(f"there are {batch_size} prompts and {len(self.texts)} texts: give one text per prompt")
        attention_mask = model_kwargs.get("attention_mask")
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        end_token = _end_token(generation_config)
        rows = [
            self._row(number, ids[mask[number].bool()].tolist(), end_token) for number, ids in enumerate(input_ids)
        ]
        pad_token = generation_config.pad_token_id
        pad_token_id = end_token if pad_token is None else int(pad_token)
        chooser = TokenChooser(
            logits_processor, stopping_criteria, bool(generation_config.do_sample), pad_token_id, width
        )
        run = _Run(model, chooser, generation_config.max_length - width, context_length(model), self.markup.query)
        run.until_done(rows)
        if not generation_config.return_dict_in_generate:
            return as_sequences(rows, width, pad_token_id).to(input_ids.device)
        return LinkingOutput(as_sequences(rows, width, pad_token_id).to(input_ids.device), rows)

    def _row(self, number: int, prompt: list[int], end_token: int) -> LinkingRow:
        row = LinkingRow.start(number, prompt)
        assert isinstance(row, LinkingRow)
        row.rule = CopyRule(self.markup, self.texts[number], end_token, self.boundaries, self.max_mention_length)
        return row


class _Run:
    """One call of the decoder."""

    def __init__(
        self, model: Any, chooser: TokenChooser, max_new_tokens: int, context: int | None, query_token: int
    ) -> None:
        self.model = model
        self.chooser = chooser
        self.max_new_tokens = max_new_tokens
        self.context = context
        self.query_token = query_token

    def until_done(self, rows: list[LinkingRow]) -> None:
        memory = memory_for(self.model, [row.number for row in rows])
        for row in rows:
            self._write_forced(row)
        active = rows
        while active:
            output = memory.feed([row.number for row in active], [row.pending for row in active])
            places = []
            for place, row in enumerate(active):
                if self._at_query(row):
                    row.embeddings.append(output.hidden[place])
                elif row.rule is not None and not row.rule.done and not self._is_full(row):
                    places.append(place)
                row.count_forward()
            if places:
                self._choose([active[place] for place in places], output.logits[places])
            for row in active:
                self._write_forced(row)
                if not row.pending:
                    row.stop_reason = row.stop_reason or ("eos" if row.rule and row.rule.done else self._limit(row))
            going = [row for row in active if row.stop_reason is None]
            if going and len(going) < len(active):
                memory.hold([row.number for row in going])
            active = going

    def _choose(self, rows: list[LinkingRow], logits: Tensor) -> None:
        legal = [self._legal(row) for row in rows]
        banned = torch.ones(logits.shape, dtype=torch.bool, device=logits.device)
        for place, tokens in enumerate(legal):
            banned[place, tokens] = False
        chosen, scores = self.chooser.choose(rows, logits, list(banned))  # type: ignore[arg-type]
        for row, tokens, token, row_scores in zip(rows, legal, chosen, scores, strict=True):
            if token not in tokens:
                raise ValueError(
                    f"logits_processor leaves none of the tokens {tokens} that may come next when the text is copied: "
                    "leave out the processor that forbids them"
                )
            row.write(token)
            if self.chooser.stops(row, row_scores):
                row.stop_reason = "stopping_criteria"

    def _legal(self, row: LinkingRow) -> list[int]:
        assert row.rule is not None
        room = self._room(row)
        if room is not None and room < row.rule.remaining + MENTION_RESERVE:
            row.mentions_stopped = "context_full"
        return row.rule.legal(may_open=row.mentions_stopped is None)

    def _write_forced(self, row: LinkingRow) -> None:
        """Write what is forced, up to a choice or a query token: its hidden state is read where a forward ends."""
        while row.rule is not None and not self._at_query(row) and not self._is_full(row):
            legal = self._legal(row)
            if len(legal) != 1:
                return
            row.write(legal[0])

    def _at_query(self, row: LinkingRow) -> bool:
        return row.usage.generated_tokens > 0 and row.pending[-1:] == [self.query_token]

    def _room(self, row: LinkingRow) -> int | None:
        return None if self.context is None else self.context - len(row.ids)

    def _is_full(self, row: LinkingRow) -> bool:
        return row.usage.generated_tokens >= self.max_new_tokens or self._room(row) == 0

    def _limit(self, row: LinkingRow) -> str:
        return "context_full" if self._room(row) == 0 else "max_new_tokens"


def _end_token(generation_config: GenerationConfig) -> int:
    token = generation_config.eos_token_id
    if token is None:
        raise ValueError(
            "eos_token_id is missing: the model ends its copy with it. Set `generation_config.eos_token_id`"
        )
    return int(token[0] if isinstance(token, (list, tuple)) else token)
