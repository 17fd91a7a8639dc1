"""`LinkingDecoder`: the decoding loop that writes a text down again with its mentions marked, a `custom_generate`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList

from ..generation.arguments import check_supported, end_token_ids, padding_id, prompt_ids
from ..generation.choice import TokenSampler
from ..generation.memory import memory_for
from ..generation.state import as_sequences
from ..modeling.positions import context_length
from .beams import search_beams
from .copying import DEFAULT_MAX_MENTION_LENGTH, CopyRule
from .markup import MentionMarkup
from .rewriting import RewriteRule
from .state import LinkingOutput, LinkingRow

DECODINGS = ("constrained", "free")


def check_decoding(name: str) -> None:
    """
    Raises:
        `ValueError`: If there is no such decoding.
    """
    if name not in DECODINGS:
        raise ValueError(f"decoding={name!r} must be one of {DECODINGS}")


class LinkingDecoder:
    """
    Decoding that writes each row's text down again and marks its mentions (paper section 3, entity linking).

    The model chooses where mentions begin and end, and nothing else: every token it may emit is legal under a
    [`CopyRule`]. Where only one is, it is not asked, and the forced tokens go through the decoder together with the
    next ones. The hidden state at each `[LK]` is kept as it comes by; nothing is searched before the end. A row
    forwards its prompt and its generated tokens but the end token, each once, whatever the number of mentions.

    With `num_beams` it is transformers' own beam search under the same rule, a token at a time.

    Args:
        markup ([`MentionMarkup`])
        texts (`Sequence[str]`): The text of each row.
        boundaries (`str`, *optional*, defaults to `"word"`): See [`find_boundaries`].
        max_mention_length (`int`, *optional*, defaults to 128): Code points.
        decoding (`str`, *optional*, defaults to `"constrained"`): `"free"` is the paper's: the model may write what it
            likes, see [`RewriteRule`].
        feed_forced_together (`bool`, *optional*, defaults to `True`): `False` feeds forced tokens one by one, with the
            same result: for measuring what feeding them together saves.

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
        decoding: str = "constrained",
        feed_forced_together: bool = True,
    ) -> None:
        check_decoding(decoding)
        self.markup = markup
        self.texts = list(texts)
        self.boundaries = boundaries
        self.max_mention_length = max_mention_length
        self.decoding = decoding
        self.feed_forced_together = feed_forced_together

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
        beams = int(generation_config.num_beams or 1)
        width = input_ids.shape[1]
        check_supported(model, generation_config, model_kwargs, streamer, len(input_ids))
        if streamer is not None:
            raise ValueError("streamer is not supported by LinkingDecoder: leave it out")
        if len(input_ids) != beams * len(self.texts):
            count = len(input_ids) // beams
            raise ValueError(f"there are {count} prompts and {len(self.texts)} texts: give one text per prompt")
        end_tokens = end_token_ids(generation_config)
        if not end_tokens:
            raise ValueError(
                "eos_token_id is missing: the model ends its text with it. Set `generation_config.eos_token_id`"
            )
        prompts = prompt_ids(input_ids, model_kwargs.get("attention_mask"))[::beams]
        rows = [self._row(number, prompt, end_tokens) for number, prompt in enumerate(prompts)]
        pad_token_id = padding_id(generation_config)
        if beams > 1:
            search_beams(
                model, self.markup, rows, input_ids, logits_processor, stopping_criteria, generation_config,
                **model_kwargs,
            )  # fmt: skip
        else:
            chooser = TokenSampler(
                logits_processor, stopping_criteria, bool(generation_config.do_sample), pad_token_id, width
            )
            _Run(self, model, chooser, generation_config.max_length - width).until_done(rows)
        for row in rows:
            row.finish()
        sequences = as_sequences(rows, width, pad_token_id).to(input_ids.device)
        return LinkingOutput(sequences, rows) if generation_config.return_dict_in_generate else sequences

    def _row(self, number: int, prompt: list[int], end_tokens: list[int]) -> LinkingRow:
        row = LinkingRow.start(number, prompt)
        assert isinstance(row, LinkingRow)
        text = self.texts[number]
        if self.decoding == "free":
            row.rule = RewriteRule(self.markup, text, end_tokens)
        else:
            row.rule = CopyRule(self.markup, text, end_tokens[0], self.boundaries, self.max_mention_length)
        return row


class _Run:
    """One call of the decoder."""

    def __init__(self, decoder: LinkingDecoder, model: Any, chooser: TokenSampler, max_new_tokens: int) -> None:
        self.model = model
        self.chooser = chooser
        self.max_new_tokens = max_new_tokens
        self.context = context_length(model)
        self.query_token = decoder.markup.query
        self.feed_forced_together = decoder.feed_forced_together

    def until_done(self, rows: list[LinkingRow]) -> None:
        memory = memory_for(self.model, [row.number for row in rows])
        for row in rows:
            self._write_forced(row)
        active = rows
        while active:
            output = memory.feed(
                [row.number for row in active],
                [row.pending for row in active],
                [row.query_positions for row in active],
            )
            for row, states in zip(active, output.states, strict=True):
                row.query_states += states
                row.count_forward()
            places = [place for place, row in enumerate(active) if self._has_choice(row)]
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

    def _has_choice(self, row: LinkingRow) -> bool:
        if row.rule is None or row.rule.done or self._is_full(row):
            return False
        legal = self._legal(row)
        return legal is None or len(legal) > 1

    def _choose(self, rows: list[LinkingRow], logits: Tensor) -> None:
        legal = [self._legal(row) for row in rows]
        banned = torch.zeros(logits.shape, dtype=torch.bool)  # on the host, where a row is no wait for an accelerator
        for place, tokens in enumerate(legal):
            if tokens is not None:
                banned[place] = True
                banned[place, tokens] = False
        chosen, scores = self.chooser.choose(rows, logits, banned)
        for row, allowed, token, row_scores in zip(rows, legal, chosen, scores, strict=True):
            if allowed is not None and token not in allowed:
                raise ValueError(
                    f"logits_processor leaves none of the tokens {allowed} that may come next when the text is "
                    "copied: leave out the processor that forbids them"
                )
            row.write(token, self.query_token)
            if self.chooser.stops(row, row_scores):
                row.stop_reason = "stopping_criteria"

    def _legal(self, row: LinkingRow) -> list[int] | None:
        assert row.rule is not None
        if not row.rule.leaves_room(self._room(row)):
            row.mentions_stopped = "context_full"
        return row.rule.legal(may_open=row.mentions_stopped is None)

    def _write_forced(self, row: LinkingRow) -> None:
        """Write what is forced, up to a choice."""
        while row.rule is not None and row.stop_reason is None and not self._is_full(row):
            legal = self._legal(row)
            if legal is None or len(legal) != 1 or (row.pending and not self.feed_forced_together):
                return
            row.write(legal[0], self.query_token)

    def _room(self, row: LinkingRow) -> int | None:
        return None if self.context is None else self.context - len(row.ids)

    def _is_full(self, row: LinkingRow) -> bool:
        return row.usage.generated_tokens >= self.max_new_tokens or self._room(row) == 0

    def _limit(self, row: LinkingRow) -> str:
        return "context_full" if self._room(row) == 0 else "max_new_tokens"
