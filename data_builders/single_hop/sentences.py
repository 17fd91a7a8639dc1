"""Where the sentences of a paragraph begin and end."""

from __future__ import annotations

import re
from typing import NamedTuple

# A sentence ends at closing punctuation that space and a capital, a digit or a quotation mark follow.
_END = re.compile(r"[.!?]['\"’”)\]]*(?P<space>\s+)(?=['\"‘“(\[]*[^\W_a-zß-öø-ÿ])")
# ... but not at a title, an initial or one of the few other abbreviations that a name or a number follows.
_ABBREVIATION = re.compile(
    r"(?:\b[^\W\d_]|\b(?:Mrs?|Ms|Dr|Prof|St|Sr|Jr|Gen|Col|Lt|Capt|Rev|Sen|Gov|vs|No|approx|ca))\.$"
)


class Span(NamedTuple):
    """A sentence: its text and the position of its first character in the paragraph."""

    text: str
    start: int


def split_sentences(text: str) -> list[Span]:
    """
    Split a paragraph into sentences.

    A rule of punctuation, not a model: what it joins or cuts wrongly costs a finer or coarser embedding, never text.

    Args:
        text (`str`):
            The paragraph.

    Returns:
        `list[Span]`: The sentences in order, stripped; all characters but the space between them are in one.
    """
    spans: list[Span] = []
    start = 0
    for match in [*_END.finditer(text), None]:
        end = len(text) if match is None else match.start("space")
        if match is not None and _ABBREVIATION.search(text, max(start, match.start() - 8), match.start() + 1):
            continue
        sentence = text[start:end]
        if stripped := sentence.strip():
            spans.append(Span(stripped, start + len(sentence) - len(sentence.lstrip())))
        start = end
    return spans


def sentence_at(spans: list[Span], position: int) -> int | None:
    """The number of the sentence that holds the character at `position`, `None` where there is none."""
    for number, span in enumerate(spans):
        if span.start <= position < span.start + len(span.text):
            return number
    return None
