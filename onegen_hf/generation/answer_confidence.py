"""`answer_confidence`: how probable an answer is to the model that wrote it."""

from __future__ import annotations

import math
from collections.abc import Callable

from ..configuration import OneGenConfig
from .state import RowState


def answer_confidence(
    row: RowState, text_of: Callable[[list[int]], str], config: OneGenConfig, query_token: int
) -> float | None:
    """
    The geometric mean of the probabilities of the answer's tokens, each by the model's unprocessed logits when it was
    chosen.

    The answer's tokens are those that the model wrote after the last `answer_prefix` and before the `answer_suffix`,
    with the token that ends the text and without query tokens. With an empty prefix they are all that the model wrote.

    Args:
        row ([`RowState`])
        text_of (`Callable`): Token ids → text, as the prefix is looked for.
        config ([`OneGenConfig`])
        query_token (`int`)

    Returns:
        `float`, *optional*: From 0 to 1; `None` if the model wrote no answer, or the engine kept no probabilities.
    """
    spans = row.written_spans()
    pieces = [text_of(row.ids[start:stop]) for start, stop in spans]
    written = "".join(pieces)
    begin, end = 0, len(written)
    if config.answer_prefix:
        begin = written.rfind(config.answer_prefix) + len(config.answer_prefix)
        if begin < len(config.answer_prefix):
            return None
    if config.answer_suffix and (suffix := written.find(config.answer_suffix, begin)) >= 0:
        end = suffix
    if not written[begin:end].strip():
        return None
    logs: list[float | None] = []
    offset = number = 0  # of the span's first character in `written`, and of its first token among the generated ones
    for (start, stop), piece in zip(spans, pieces, strict=True):
        ids = row.ids[start:stop]
        first = _tokens_within(ids, text_of, begin - offset)
        last = len(ids) if end == len(written) else _tokens_within(ids, text_of, end - offset)
        logs += [row.log_probability(number + place) for place in range(first, last) if ids[place] != query_token]
        offset, number = offset + len(piece), number + len(ids) + 1  # the query token stands between spans
    known = [log for log in logs if log is not None]
    return math.exp(sum(known) / len(known)) if known and len(known) == len(logs) else None


def _tokens_within(ids: list[int], text_of: Callable[[list[int]], str], length: int) -> int:
    """Number of leading tokens whose text ends within the first `length` characters."""
    low, high = 0, len(ids)
    while low < high:
        middle = (low + high + 1) // 2
        # A token may end inside a character, which then shows as replacement characters.
        if len(text_of(ids[:middle]).rstrip("\N{REPLACEMENT CHARACTER}")) <= length:
            low = middle
        else:
            high = middle - 1
    return low
