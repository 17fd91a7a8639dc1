"""Marking mentions in a text, and taking the marks out again."""

from __future__ import annotations

from collections.abc import Sequence

from data_builders.errors import RecordError
from data_builders.schema import UNLABELLED_CLOSE, UNLABELLED_OPEN

MENTION_OPEN, MENTION_CLOSE = "<MENTION>", "</MENTION>"
DEFAULT_LINK_TOKEN, DEFAULT_CONTINUE_TOKEN, DOCUMENT_TOKEN = "[LK]", "[CON]", "[SE]"
_PARAGRAPH_TAGS = ("<paragraph>", "</paragraph>")


def annotate(
    text: str,
    spans: Sequence[tuple[int, int]],
    query_token: str = DEFAULT_LINK_TOKEN,
    continue_token: str = DEFAULT_CONTINUE_TOKEN,
    unlabelled: Sequence[tuple[int, int]] = (),
) -> str:
    """
    Mark mentions (OneGen, arXiv 2409.05152, section 3).

    Args:
        text (`str`): The text.
        spans (`Sequence[tuple[int, int]]`): Start and end of every mention, in order and without overlaps.
        query_token (`str`, *optional*, defaults to `"[LK]"`): Stands after each mention.
        continue_token (`str`, *optional*, defaults to `"[CON]"`): Stands after the query token.
        unlabelled (`Sequence[tuple[int, int]]`, *optional*): Spans between mentions, in order, that may or may not be
            mentions. They get `<unlabelled>` tags, inside of which no token has a loss.

    Returns:
        `str`: The text with `<MENTION>...</MENTION>[LK][CON]` for every mention.

    Raises:
        `RecordError`: If the text holds one of the marks, or spans overlap.

    Example:

    ```python
    >>> annotate("Ada met Ben.", [(0, 3), (8, 11)])
    '<MENTION>Ada</MENTION>[LK][CON] met <MENTION>Ben</MENTION>[LK][CON].'
    ```
    """
    marks = (MENTION_OPEN, MENTION_CLOSE, query_token, continue_token)
    for mark in (*marks, DOCUMENT_TOKEN, *_PARAGRAPH_TAGS, UNLABELLED_OPEN, UNLABELLED_CLOSE):
        if mark in text:
            raise RecordError("reserved_text", f"the text contains {mark!r}, a mark of the format; remove it there.")
    tags = {span: (MENTION_OPEN, MENTION_CLOSE + query_token + continue_token) for span in spans}
    tags |= dict.fromkeys(unlabelled, (UNLABELLED_OPEN, UNLABELLED_CLOSE))
    pieces, position = [], 0
    for (start, end), (before, after) in sorted(tags.items()):
        if not position <= start <= end <= len(text):
            raise RecordError("overlapping_spans", f"the span [{start}, {end}] overlaps another or leaves the text.")
        pieces += [text[position:start], before, text[start:end], after]
        position = end
    return "".join([*pieces, text[position:]])


def remove_annotation(
    annotated: str, query_token: str = DEFAULT_LINK_TOKEN, continue_token: str = DEFAULT_CONTINUE_TOKEN
) -> str:
    """
    Inverse of [`annotate`]: the text without its marks.

    Args:
        annotated (`str`): A text with marks.
        query_token (`str`, *optional*, defaults to `"[LK]"`): The token after each mention.
        continue_token (`str`, *optional*, defaults to `"[CON]"`): The token after the query token.

    Returns:
        `str`: The text.
    """
    for mark in (MENTION_CLOSE + query_token + continue_token, MENTION_OPEN, UNLABELLED_OPEN, UNLABELLED_CLOSE):
        annotated = annotated.replace(mark, "")
    return annotated
