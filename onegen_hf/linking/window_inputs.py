"""Inputs and outputs of the model for a window of a text, and checks of the caller's texts and spans."""

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
    The input of the model for one window of a text.

    Args:
        text (`str`): The whole text.
        window ([`Window`])
        prompt (`list[int]`)
        spans (`list[tuple[int, int]]`, *optional*): Given mentions, in code points of `text`.
        order (`list[tuple[int, int]]`, *optional*): All given mentions of the text, in the caller's order.
    """

    text: str
    window: Window
    prompt: list[int]
    spans: list[Span] | None = None
    order: list[Span] | None = None

    @property
    def part(self) -> str:
        """The part of the text inside the window."""
        return self.text[self.window.start : self.window.end]

    @property
    def owned_end(self) -> int | None:
        """Where in `part` those mentions begin that are taken from the next window; `None` where there is none."""
        return None if self.window.end == len(self.text) else self.window.owned[1] - self.window.start


@dataclass(frozen=True)
class WindowMentions:
    """
    The mentions of a window.

    Args:
        source ([`WindowInput`])
        spans (`list[tuple[int, int]]`): In code points of the whole text.
        embeddings (`list[Tensor]`): The hidden state at each mention's `[LK]`, of shape `(hidden,)`.
        usage ([`Usage`])
        aligned (`bool`, *optional*, defaults to `True`): Whether the output equals the window's text.
    """

    source: WindowInput
    spans: list[Span]
    embeddings: list[Tensor]
    usage: Usage
    aligned: bool = True


def check_text(text: object) -> str:
    """
    Check that a text can be tokenized.

    Raises:
        `TypeError`: If it is not a string.
        `ValueError`: If it contains half a surrogate pair, which can't be encoded.
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
    Check that given mentions can be marked in a text.

    Raises:
        `TypeError`: If `spans` is not a list.
        `ValueError`: If a span is not a pair of offsets, is empty, exceeds the text, or overlaps another.
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
    for left, right in zip(ordered, ordered[1:], strict=False):
        if right[0] < left[1]:
            raise ValueError(
                f"spans: {list(left)} and {list(right)} overlap, but marks must not: link them in two calls"
            )
    return checked
