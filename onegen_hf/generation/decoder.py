"""`OnePassDecoder`: the decoding loop that retrieves while it generates, for `generate(custom_generate=...)`."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessorList, PreTrainedTokenizerBase, StoppingCriteriaList

from ..configuration import OneGenConfig
from ..data.passages import Passage, PassageEncoder
from ..modeling.positions import context_length
from .arguments import check_supported, end_token_ids, padding_id, prompt_ids
from .choice import TokenSampler
from .memory import Memory, memory_for
from .prompt_lookup import Drafter
from .state import Hit, OnePassOutput, Retrieval, RowState, as_sequences

MINIMAL_ROOM = 16
"""Free positions below which a row stops retrieving: the paragraph tags, a few words, and a token to go on with."""
ANSWER_RESERVE = 48
"""Positions that an inserted passage leaves free for the answer, where the context allows it."""


class Searchable(Protocol):
    """What the decoder needs of a [`PassageIndex`]."""

    def search(self, embeddings: Any, k: int) -> tuple[Any, Any]:
        """Scores and rows of the `k` nearest passages of each embedding."""

    def __getitem__(self, row: int) -> Passage: ...


class OnePassDecoder:
    """
    Greedy or sampled decoding in which the model retrieves by itself (paper section 3.4).

    When the model emits the query token, the last hidden state of that very step is the query embedding; the passages
    found are appended to the same cache and generation goes on. Nothing is read twice: a row forwards its prompt, its
    generated tokens (but the last) and its inserted passages, each position once, whatever the number of hops.

    Rows of a batch go their own ways: each retrieves when it wants to, and its result equals that of a batch of one.

    With `prompt_lookup_num_tokens` among the arguments of `generate`, each forward also reads so many drafted tokens
    (shared by the rows), and those that the model would have written are kept: the same text from fewer forwards,
    which pays where few rows run. Drafts in vain are counted in `usage.rejected_tokens`.

    Args:
        index ([`PassageIndex`])
        tokenizer (`PreTrainedTokenizerBase`)
        config ([`OneGenConfig`])
        k (`int`, *optional*, defaults to 1): Passages inserted per hop.
        max_hops (`int`, *optional*, defaults to 5): Afterwards the model may not emit the query token any more.
        max_rows (`int`, *optional*): Rows that are decoded at a time; the others of a batch wait, and each takes the
            place of the first one that ends (continuous batching), so that one long answer holds up nobody. By
            default all rows start together.

    Example:

    ```python
    >>> decoder = OnePassDecoder(index, tokenizer, model.onegen_config)
    >>> model.generate(**tokenizer(prompts, return_tensors="pt", padding=True), custom_generate=decoder)
    ```
    """

    def __init__(
        self,
        index: Searchable,
        tokenizer: PreTrainedTokenizerBase,
        config: OneGenConfig,
        k: int = 1,
        max_hops: int = 5,
        max_rows: int | None = None,
    ) -> None:
        if k < 1:
            raise ValueError(f"k={k} must be at least 1 passage per hop")
        if max_hops < 0:
            raise ValueError(f"max_hops={max_hops} must not be negative")
        if max_rows is not None and max_rows < 1:
            raise ValueError(f"max_rows={max_rows} must be at least 1 row at a time")
        self.index = index
        self.passages = PassageEncoder(tokenizer, config)
        self.query_token = self.passages.ids.query
        self.paragraph_close = self.passages.paragraph("")[0][-1]
        self.k = k
        self.max_hops = max_hops
        self.max_rows = max_rows

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
    ) -> OnePassOutput | Tensor:
        """Called by `generate`; see its documentation for the arguments."""
        check_supported(model, generation_config, model_kwargs, streamer, input_ids.shape[0])
        if (generation_config.num_beams or 1) > 1:
            raise ValueError(f"num_beams={generation_config.num_beams}: beams cannot retrieve. Use num_beams=1.")
        prompts = prompt_ids(input_ids, model_kwargs.get("attention_mask"))
        rows = [RowState.start(number, prompt) for number, prompt in enumerate(prompts)]
        pad_token_id = padding_id(generation_config)
        end_tokens = set(end_token_ids(generation_config))
        width = input_ids.shape[1]
        run = _Run(
            decoder=self,
            model=model,
            chooser=TokenSampler(
                logits_processor, stopping_criteria, bool(generation_config.do_sample), pad_token_id, width
            ),
            drafter=Drafter.from_config(generation_config, {self.query_token, *end_tokens}),
            end_tokens=end_tokens,
            max_new_tokens=generation_config.max_length - width,
            context=context_length(model),
            streamer=streamer,
        )
        if streamer is not None:
            streamer.put(input_ids.cpu())
        run.until_done(rows)
        if streamer is not None:
            streamer.end()
        sequences = as_sequences(rows, width, pad_token_id).to(input_ids.device)
        return OnePassOutput(sequences, rows) if generation_config.return_dict_in_generate else sequences

    def retrieve(self, rows: Sequence[RowState], embeddings: Tensor) -> list[list[Hit]]:
        """
        Find the passages that are inserted; a subclass may choose others (gold ones, a second index, none).

        Args:
            rows (`Sequence[RowState]`): The rows that ask, each with the query token as its last id.
            embeddings (`Tensor` of shape `(rows, hidden)`): Their query embeddings.

        Returns:
            `list[list[Hit]]`: The `k` nearest passages of each, best first.
        """
        scores, found = self.index.search(embeddings, self.k)
        return [
            [Hit(self.index[int(row)], float(score), int(row)) for score, row in zip(*pair, strict=True) if row >= 0]
            for pair in zip(scores, found, strict=True)
        ]


class _Run:
    """One call of the decoder."""

    def __init__(
        self,
        decoder: OnePassDecoder,
        model: Any,
        chooser: TokenSampler,
        drafter: Drafter | None,
        end_tokens: set[int],
        max_new_tokens: int,
        context: int | None,
        streamer: Any,
    ) -> None:
        self.decoder = decoder
        self.model = model
        self.chooser = chooser
        self.drafter = drafter
        self.end_tokens = end_tokens
        self.max_new_tokens = max_new_tokens
        self.context = context
        self.streamer = streamer

    def until_done(self, rows: list[RowState]) -> None:
        # Long prompts mostly take more hops, and those that start last run alone at the end.
        queue = deque(sorted(rows, key=lambda row: -len(row.ids)))
        active = [queue.popleft() for _ in range(min(self.decoder.max_rows or len(rows), len(rows)))]
        memory = memory_for(self.model, [row.number for row in active])
        while active:
            self._advance(memory, active)
            if any(row.stop_reason is not None for row in active):
                active = _without_ended(active, queue)
                memory.hold([row.number for row in active])

    def _advance(self, memory: Memory, rows: list[RowState]) -> None:
        asked = [row for row in rows if row.pending == [self.decoder.query_token] and row.usage.generated_tokens > 0]
        drafts = self._drafts(memory, rows, asked)
        chunks = [[*row.pending, *draft] for row, draft in zip(rows, drafts, strict=True)]
        output = memory.feed([row.number for row in rows], chunks, drafts=[len(draft) for draft in drafts])
        for row, draft in zip(rows, drafts, strict=True):
            row.count_forward(len(draft))
        if asked:
            places = [place for place, row in enumerate(rows) if row in asked]
            self._insert(asked, output.hidden[places])
        others = [(place, row) for place, row in enumerate(rows) if row not in asked]
        if others:
            logits = output.logits[[place for place, _ in others]] if asked else output.logits
            self._choose([row for _, row in others], logits)
        for row, draft, logits in zip(rows, drafts, output.drafted, strict=True):
            self._judge(memory, row, draft, logits)

    def _drafts(self, memory: Memory, rows: list[RowState], asked: list[RowState]) -> list[list[int]]:
        """What each row may write next; nothing where a passage comes next."""
        if self.drafter is None or not memory.can_forget:
            return [[] for _ in rows]
        return [[] if row in asked else self.drafter.draft(row, len(rows), self._room_to_write(row)) for row in rows]

    def _judge(self, memory: Memory, row: RowState, draft: list[int], logits: Tensor) -> None:
        """Keep a draft as far as the row chooses those very tokens."""
        accepted = 0
        while accepted < len(draft) and row.stop_reason is None and row.ids[-1] == draft[accepted]:
            row.pending = []
            self._choose([row], logits[accepted : accepted + 1])
            accepted += 1
        rejected = len(draft) - accepted
        if rejected:
            row.usage.rejected_tokens += rejected
            memory.forget(row.number, rejected)

    def _insert(self, rows: list[RowState], embeddings: Tensor) -> None:
        found = self.decoder.retrieve(rows, embeddings)
        for row, embedding, hits in zip(rows, embeddings, found, strict=True):
            position = len(row.ids) - 1
            tokens = self._fit(row, self.decoder.passages.insertion([hit.passage for hit in hits]))
            row.retrievals.append(Retrieval(len(row.retrievals), position, hits, len(tokens), embedding))
            row.insert(tokens)
            self._stream(tokens)

    def _fit(self, row: RowState, tokens: list[int]) -> list[int]:
        """Shorten inserted text so that the answer still fits into the context."""
        room = self._room(row)
        if room is None or len(tokens) + ANSWER_RESERVE <= room:
            return tokens
        row.retrieval_stopped = "context_full"
        length = max(room - ANSWER_RESERVE, min(room // 2, len(tokens)), 2)
        return tokens if len(tokens) <= length else [*tokens[: length - 1], self.decoder.paragraph_close]

    def _room(self, row: RowState) -> int | None:
        return None if self.context is None else self.context - len(row.ids)

    def _room_to_write(self, row: RowState) -> int:
        """Tokens that may still be generated before the last one."""
        left = self.max_new_tokens - row.usage.generated_tokens
        room = self._room(row)
        return (left if room is None else min(left, room)) - 1

    def _banned(self, row: RowState) -> list[int]:
        room = self._room(row)
        if row.retrieval_stopped is None and room is not None and room < MINIMAL_ROOM:
            row.retrieval_stopped = "context_full"
        if row.retrieval_stopped is None and len(row.retrievals) >= self.decoder.max_hops:
            row.retrieval_stopped = "max_hops"
        return [] if row.retrieval_stopped is None else [self.decoder.query_token]

    def _choose(self, rows: list[RowState], logits: Tensor) -> None:
        tokens, scores = self.chooser.choose(rows, logits, [self._banned(row) for row in rows])
        for row, token, row_scores in zip(rows, tokens, scores, strict=True):
            row.generate(token)
            self._stream([token])
            if token in self.end_tokens:
                row.stop_reason = "eos"
            elif row.usage.generated_tokens >= self.max_new_tokens:
                row.stop_reason = "max_new_tokens"
            elif self.chooser.stops(row, row_scores):
                row.stop_reason = "stopping_criteria"
            elif self._room(row) == 0:
                row.stop_reason = "context_full"

    def _stream(self, tokens: Sequence[int]) -> None:
        if self.streamer is not None:
            self.streamer.put(torch.tensor(tokens))


def _without_ended(active: list[RowState], queue: deque[RowState]) -> list[RowState]:
    """The rows that go on, with the next ones of the queue in the very places of those that ended."""
    going = []
    for row in active:
        if row.stop_reason is None:
            going.append(row)
        elif queue:
            going.append(queue.popleft())
    return going
