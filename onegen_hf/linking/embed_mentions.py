"""Embeddings of given mentions, from one forward over the annotated text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..data.padding import pad_ids, pad_positions
from ..generation import Usage
from ..modeling.positions import context_length
from .markup import MentionMarkup
from .window_inputs import WindowInput, WindowMentions


def embed_given(
    model: Any, markup: MentionMarkup, windows: Sequence[WindowInput], pad_token_id: int
) -> list[WindowMentions]:
    """
    Embed given mentions without generating anything.

    Args:
        model ([`OneGenForCausalLM`])
        markup ([`MentionMarkup`])
        windows (`Sequence[WindowInput]`): With `spans`.
        pad_token_id (`int`)

    Raises:
        `ValueError`: If a window including its marks is longer than the model's context.
    """
    rows, positions = [], []
    context = context_length(model)
    for window in windows:
        offset = window.window.start
        spans = window.spans or []
        annotation = markup.annotate(window.part, [(start - offset, end - offset) for start, end in spans])
        positions.append([len(window.prompt) + position for position in annotation.query_positions])
        # Tokens after the last query token are not needed.
        rows.append([*window.prompt, *annotation.ids][: positions[-1][-1] + 1 if spans else 1])
        if context is not None and len(rows[-1]) > context:
            raise ValueError(
                f"a window with its {len(spans)} mentions takes {len(rows[-1])} tokens, but the model's context holds "
                f"{context}: lower `max_window_tokens`"
            )
    input_ids, attention_mask = (tensor.to(model.device) for tensor in pad_ids(rows, pad_token_id))
    embedded = model.embed(input_ids, attention_mask, pad_positions(positions).to(model.device))
    return [
        WindowMentions(window, window.spans or [], list(states)[: len(places)], Usage(len(row), 0, 0, len(row), 1))
        for window, states, places, row in zip(windows, embedded, positions, rows, strict=True)
    ]
