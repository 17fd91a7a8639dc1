"""Beam search over annotations, with transformers' beam search under the rules of entity linking."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from torch import Tensor
from transformers import GenerationConfig, LogitsProcessorList, MaxLengthCriteria, StoppingCriteriaList

from ..generation.hidden_state_hook import recorded_states
from ..modeling.positions import context_length
from .copying import CopyRule
from .markup import MentionMarkup
from .processors import CopyProcessor, LinkContinuationProcessor
from .state import LinkingRow


def search_beams(
    model: Any,
    markup: MentionMarkup,
    rows: Sequence[LinkingRow],
    input_ids: Tensor,
    logits_processor: LogitsProcessorList,
    stopping_criteria: StoppingCriteriaList,
    generation_config: GenerationConfig,
    opening_bias: float = 0.0,
    **model_kwargs: Any,
) -> None:
    """
    Write the best beam of each row into the row, with the hidden states at its query tokens. The states are recorded
    during the search, so nothing goes through the decoder again.

    The usage of a row counts the tokens of all its beams.

    Args:
        model ([`OneGenForCausalLM`])
        markup ([`MentionMarkup`])
        rows (`Sequence[LinkingRow]`): Rows before their first token.
        input_ids (`Tensor` of shape `(rows * beams, width)`), and the following: As `generate` gives them to a
            decoding method.
        opening_bias (`float`, *optional*, defaults to 0.0): See [`CopyProcessor`].

    Raises:
        `ValueError`: For sampling, or more than one returned sequence.
    """
    beams = int(generation_config.num_beams)
    if generation_config.do_sample:
        raise ValueError(
            f"do_sample=True with num_beams={beams}: too few tokens are legal to draw beams from. Use one"
        )
    if (generation_config.num_return_sequences or 1) > 1:
        raise ValueError(
            f"num_return_sequences={generation_config.num_return_sequences} must be 1: a text has one result"
        )
    width, context = input_ids.shape[1], context_length(model)
    copied = [row.rule for row in rows if isinstance(row.rule, CopyRule)]
    rule = CopyProcessor(copied, width, context, opening_bias) if copied else LinkContinuationProcessor(markup)
    settings = copy.copy(generation_config)
    # The output must include beam indices, and each forward must be one step of all beams.
    settings.return_dict_in_generate, settings.prefill_chunk_size = True, None
    if context is not None and context < settings.max_length:
        settings.max_length = context
        stopping_criteria = StoppingCriteriaList([*stopping_criteria, MaxLengthCriteria(context)])
    with recorded_states(model) as states:
        output = model._beam_search(
            input_ids, LogitsProcessorList([*logits_processor, rule]), stopping_criteria, settings, **model_kwargs
        )
    for row, sequence, origins in zip(rows, output.sequences, output.beam_indices.tolist(), strict=True):
        _write(row, sequence[width:].tolist(), origins, states, markup.query)
        row.usage.forwarded_tokens = beams * (row.usage.prompt_tokens + len(states) - 1)
        row.usage.forward_calls = len(states)
        if not row.rule.done:
            row.stop_reason = "context_full" if width + len(states) == context else "max_new_tokens"


def _write(row: LinkingRow, generated: list[int], origins: list[int], states: list[Tensor], query_token: int) -> None:
    """
    Write the best beam into a row. Forward `n` read `generated[n - 1]`, and its row `origins[n]` produced
    `generated[n]`.
    """
    for step, (token, origin) in enumerate(zip(generated, origins, strict=False)):
        if origin < 0 or row.rule.done:
            break
        if step and generated[step - 1] == query_token:
            row.query_states.append(states[step][origin])
        row.write(token)
    row.pending, row.query_positions = [], []
    row.stop_reason = "eos"
