"""The settings of an answer as controls of the page."""

from __future__ import annotations

from typing import Any

import gradio as gr

from ..generation.policy import POLICIES

NAMES = ("k", "retrieval", "max_hops", "max_new_tokens", "threshold")
"""Arguments of `rag.stream`, in the order of the controls."""


def settings_controls(k: int = 1, retrieval: str = "adaptive") -> list[Any]:
    """
    Make the controls where the caller is in the page.

    Args:
        k (`int`, *optional*, defaults to 1)
        retrieval (`str`, *optional*, defaults to `"adaptive"`)

    Returns:
        `list`: As inputs of a function, whose values [`options_of`] reads.
    """
    return [
        gr.Slider(1, 10, k, step=1, label="Passages per retrieval"),
        gr.Radio(
            list(POLICIES), value=retrieval, label="When it retrieves",
            info="adaptive: the model decides; always: at least once; never: from memory",
        ),
        gr.Slider(1, 10, 5, step=1, label="Retrievals at most"),
        gr.Slider(8, 1024, 256, step=8, label="Tokens at most"),
        gr.Number(
            None, minimum=0, maximum=1, step=0.05, label="Threshold",
            info="With adaptive: search where the query token is more probable than this. Empty: the model chooses.",
        ),
    ]  # fmt: skip


def options_of(values: tuple[Any, ...]) -> dict[str, Any]:
    """
    Arguments of `rag.stream`.

    Args:
        values (`tuple`): Of the controls, in their order. An empty control counts as its default.
    """
    options = dict(zip(NAMES, values, strict=True))
    whole = {name: int(options[name]) for name in ("k", "max_hops", "max_new_tokens") if options[name] is not None}
    threshold = options["threshold"] if options["retrieval"] == "adaptive" else None
    return {"retrieval": options["retrieval"] or "adaptive", "threshold": threshold, **whole}
