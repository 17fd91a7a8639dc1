"""`LinkingDecoder`: a decoding loop for `custom_generate` that copies a text with its mentions marked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList

from ..checks import checked, choice, flag, instance, integer, list_of, number, optional, text
from ..generation.arguments import check_supported, end_token_ids, padding_id, prompt_ids
from ..generation.choice import TokenSampler
from ..generation.decoding import Decoding, DecodingTask
from ..generation.loop import DecodingLoop
from ..generation.memory import StepOutput
from ..generation.state import as_sequences
from .beams import search_beams
from .boundaries import BOUNDARIES
from .copy_drafts import CopyDrafter
from .copying import DEFAULT_MAX_MENTION_LENGTH, CopyRule
from .markup import MentionMarkup
from .rewriting import RewriteRule
from .state import LinkingOutput, LinkingRow

DECODINGS = ("constrained", "free")


class LinkingDecoder:
    """
    Copies the text of each row and marks its mentions (paper section 3, entity linking).

    The model only chooses where mentions begin and end: a [`CopyRule`] determines the allowed tokens. Where only one
    token is allowed, the model is not asked, and the forced tokens go through the decoder together with the following
    ones. The hidden state at each `[LK]` is kept; the search runs once, at the end. A row forwards its prompt and its
    generated tokens exactly once, whatever the number of mentions, those after its last choice not at all. The
    instruction that all prompts begin with is forwarded once for all rows, and counts for the first.

    `num_beams` selects transformers' beam search under the same rule, one token at a time.

    Args:
        markup ([`MentionMarkup`])
        texts (`Sequence[str]`): The text of each row.
        boundaries (`str`, *optional*, defaults to `"word"`): See [`find_boundaries`].
        max_mention_length (`int`, *optional*, defaults to 128): In code points.
        decoding (`str`, *optional*, defaults to `"constrained"`): `"free"` is the paper's method: the model may write
            anything, see [`RewriteRule`].
        opening_bias (`float`, *optional*, defaults to 0.0): Added to the logit of every token that opens a mention:
            positive values find more mentions. For constrained decoding.
        draft_tokens (`int`, *optional*, defaults to 0): Tokens that are read ahead per forward, with marks where
            mentions are likely, shared by the rows; see [`CopyDrafter`]. The result is the same in fewer forwards.
            Rejected ones count as forwarded, and as `rejected_tokens`. For greedy decoding.
        feed_forced_together (`bool`, *optional*, defaults to `True`): `False` feeds forced tokens one by one, with the
            same result, to measure how much feeding them together saves.
        until (`Sequence[int | None]`, *optional*): For each text the place before which the mentions begin that are
            wanted: its copy ends once they are marked. For constrained decoding; `None` for the whole text.

    Example:

    ```python
    >>> markup = MentionMarkup(tokenizer, model.onegen_config)
    >>> prompt = torch.tensor([markup.prompt(text, instruction)])
    >>> output = model.generate(prompt, custom_generate=LinkingDecoder(markup, [text]), return_dict_in_generate=True)
    >>> output.rows[0].spans
    [(0, 3)]
    ```
    """

    @checked(
        markup=instance(MentionMarkup),
        texts=list_of(text(empty=True), empty=True),
        boundaries=choice(BOUNDARIES),
        max_mention_length=integer(least=1),
        decoding=choice(DECODINGS),
        opening_bias=number(),
        draft_tokens=integer(least=0),
        feed_forced_together=flag(),
        until=optional(list_of(optional(integer(least=0)), empty=True)),
    )
    def __init__(
        self,
        markup: MentionMarkup,
        texts: Sequence[str],
        boundaries: str = "word",
        max_mention_length: int = DEFAULT_MAX_MENTION_LENGTH,
        decoding: str = "constrained",
        opening_bias: float = 0.0,
        draft_tokens: int = 0,
        feed_forced_together: bool = True,
        until: Sequence[int | None] | None = None,
    ) -> None:
        if opening_bias and decoding != "constrained":
            raise ValueError(
                f"opening_bias={opening_bias} is for constrained decoding: leave it out, or decoding={decoding!r}"
            )
        if until is not None and (decoding != "constrained" or len(until) != len(texts)):
            raise ValueError(
                f"until={list(until)} must be a place in each of the {len(texts)} texts, for constrained decoding: "
                f"leave it out, or decoding={decoding!r}"
            )
        self.markup = markup
        self.tokenizer = markup.tokenizer
        self.texts = list(texts)
        self.boundaries = boundaries
        self.max_mention_length = max_mention_length
        self.decoding = decoding
        self.opening_bias = opening_bias
        self.until = None if until is None else list(until)
        self.draft_tokens = draft_tokens
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
                opening_bias=self.opening_bias, **model_kwargs,
            )  # fmt: skip
        else:
            sampler = TokenSampler(
                logits_processor, stopping_criteria, bool(generation_config.do_sample), pad_token_id, width
            )
            task = _Linking(self, model, generation_config.max_length - width, end_tokens)
            # A draw for every token would take other random numbers than one for every choice.
            drafter = CopyDrafter(self.draft_tokens) if self.draft_tokens and not sampler.do_sample else None
            DecodingLoop(model).run_together(Decoding(task, sampler, drafter), rows)
        for row in rows:
            row.finish()
        sequences = as_sequences(rows, width, pad_token_id).to(input_ids.device)
        return LinkingOutput(sequences, rows) if generation_config.return_dict_in_generate else sequences

    def _row(self, number: int, prompt: list[int], end_tokens: list[int]) -> LinkingRow:
        source = self.texts[number]
        if self.decoding == "free":
            return LinkingRow.under(RewriteRule(self.markup, source, end_tokens), number, prompt)
        until = None if self.until is None else self.until[number]
        rule = CopyRule(self.markup, source, end_tokens[0], self.boundaries, self.max_mention_length, until)
        return LinkingRow.under(rule, number, prompt)


class _Linking(DecodingTask[LinkingRow]):
    """Copies texts under a rule and keeps the states at their query tokens."""

    def __init__(self, decoder: LinkingDecoder, model: Any, max_new_tokens: int, end_tokens: Sequence[int]) -> None:
        super().__init__(model, max_new_tokens, end_tokens)
        self.query_token = decoder.markup.query
        self.feed_forced_together = decoder.feed_forced_together
        self.opening_bias = decoder.opening_bias
        self.constrained = decoder.decoding == "constrained"

    @property
    def among_few(self) -> bool:
        return self.constrained and not self.opening_bias

    def admit(self, row: LinkingRow) -> None:
        self._write_forced(row)

    def query_positions(self, row: LinkingRow, draft: Sequence[int]) -> Sequence[int]:
        drafted = [len(row.pending) + place for place, token in enumerate(draft) if token == self.query_token]
        return [*row.query_positions, *drafted]

    def read(self, rows: Sequence[LinkingRow], output: StepOutput) -> list[int]:
        for row, states in zip(rows, output.states, strict=True):
            row.query_states += states
        return [place for place, row in enumerate(rows) if self._has_choice(row)]

    def adjusted(self, rows: Sequence[LinkingRow], logits: Tensor) -> Tensor:
        if self.opening_bias:
            for place, row in enumerate(rows):
                if isinstance(row.rule, CopyRule) and (opening := row.rule.opening_tokens()):
                    logits[place, opening] += self.opening_bias
        return logits

    def banned(self, rows: Sequence[LinkingRow], logits: Tensor) -> Tensor:
        banned = torch.zeros(
            logits.shape, dtype=torch.bool
        )  # on the host, so that rows don't synchronize with an accelerator
        for place, row in enumerate(rows):
            allowed = self.allowed(row)
            if allowed is not None:
                banned[place] = True
                banned[place, allowed] = False
        return banned

    def settle(self, row: LinkingRow, token: int) -> int:
        allowed = self.allowed(row)
        if allowed is not None and token not in allowed:
            raise ValueError(
                f"logits_processor leaves none of the tokens {allowed} that may come next when the text is copied: "
                "leave out the processor that forbids them"
            )
        return token

    def stop_reason(self, row: LinkingRow, token: int) -> str | None:
        """A row ends once everything that it wrote has been read, see [`~_Linking.proceed`]."""
        return None

    def undoes(self, row: LinkingRow) -> bool:
        return isinstance(row.rule, CopyRule) and row.rule.runs_on

    def take_back(self, row: LinkingRow) -> int:
        assert isinstance(row.rule, CopyRule)
        return row.take_back(row.rule.decline())

    def proceed(self, row: LinkingRow) -> None:
        del row.query_states[row.queries_read :]  # of drafts that were not kept
        self._write_forced(row)
        if row.stop_reason is not None:
            return
        if row.rule.done and not row.query_positions:
            row.unread = len(row.pending)
            row.pending, row.stop_reason = [], "eos"
        elif row.pending:
            return
        else:
            row.stop_reason = "context_full" if self.room(row) == 0 else "max_new_tokens"

    def _has_choice(self, row: LinkingRow) -> bool:
        if row.rule.done or self._is_full(row):
            return False
        allowed = self.allowed(row)
        return allowed is None or len(allowed) > 1

    def allowed(self, row: LinkingRow) -> list[int] | None:
        if not row.rule.leaves_room(self.room(row)):
            row.mentions_stopped = "context_full"
        return row.rule.allowed_tokens(may_open=row.mentions_stopped is None)

    def _write_forced(self, row: LinkingRow) -> None:
        """Write forced tokens until there is a choice."""
        while row.stop_reason is None and not self._is_full(row):
            allowed = self.allowed(row)
            if allowed is None or len(allowed) != 1 or (row.pending and not self.feed_forced_together):
                return
            row.write(allowed[0])

    def _is_full(self, row: LinkingRow) -> bool:
        return row.usage.generated_tokens >= self.max_new_tokens or self.room(row) == 0
