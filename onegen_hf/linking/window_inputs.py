"""What goes to the model for a window of a text, what comes back, and the checks of what a caller gives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..checks import shown
from ..generation import Usage
from .markup import Span
from .windows import Window


@dataclass(frozen=True)
class WindowInput:
    """
    A window of a text on its way to the model.

    Args:
        text (`str`): The whole text.
        window ([`Window`])
        prompt (`list[int]`)
        spans (`list[tuple[int, int]]`, *optional*): The mentions, in code points of `text`, if they are given.
        order (`list[tuple[int, int]]`, *optional*): All mentions of the text as they were given.
    """

    text: str
    window: Window
    prompt: list[int]
    spans: list[Span] | None = None
    order: list[Span] | None = None

    @property
    def part(self) -> str:
        """What the window shows of the text."""
        return self.text[self.window.start : self.window.end]


@dataclass(frozen=True)
class WindowMentions:
    """
    The mentions of a window.

    Args:
        source ([`WindowInput`])
        spans (`list[tuple[int, int]]`): In code points of the whole text.
        embeddings (`list[Tensor]`): The hidden state at each mention's `[LK]`, of shape `(hidden,)`.
        usage ([`Usage`])
        aligned (`bool`, *optional*, defaults to `True`): Whether what was written is the window's text.
    """

    source: WindowInput
    spans: list[Span]
    embeddings: list[Tensor]
    usage: Usage
    aligned: bool = True


def check_text(text: object) -> str:
    """
    Make sure that a text can be tokenized.

    Raises:
        `TypeError`: If it is no string.
        `ValueError`: If it holds half a surrogate pair, which no encoding has.
    """
    if not isinstance(text, str):
        raise TypeError(f"a text must be a string, got {type(text).__name__}: {text!r:.60}")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"the text holds {text[error.start]!r} at {error.start}, half a surrogate pair: decode it anew, or "
            "replace it with `text.encode('utf-16', 'surrogatepass').decode('utf-16', 'replace')`"
        ) from error
    return text


def check_spans(spans: Any, text: str) -> list[Span]:
    """
    Make sure that given mentions can be marked in a text.

    Raises:
        `TypeError`: If they are no list.
        `ValueError`: If they are no pairs of offsets, are empty, leave the text, or overlap.
    """
    if isinstance(spans, (str, bytes, Mapping)) or not isinstance(spans, Iterable):
        raise TypeError(f"spans={shown(spans)} must be a list of [start, end], got {type(spans).__name__}")
    checked: list[Span] = []
    for span in spans:
        if not isinstance(span, Sequence) or isinstance(span, str) or [type(v) for v in span] != [int, int]:
            raise ValueError(f"spans: every one must be [start, end], got {span!r}")
        start, end = span
        if not 0 <= start < end <= len(text):
            raise ValueError(f"spans: [{start}, {end}] is empty or leaves the text of {len(text)} code points")
        checked.append((start, end))
    ordered = sorted(checked)
    for one, other in zip(ordered, ordered[1:], strict=False):
        if other[0] < one[1]:
            raise ValueError(f"spans: {list(one)} and {list(other)} overlap, and marks cannot: link them in two calls")
    return checked
