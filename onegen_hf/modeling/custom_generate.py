"""Gives a decoding loop that is a callable what transformers' `generate` would keep from it."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import Any

from transformers import StoppingCriteriaList, StopStringCriteria

WITHOUT_EFFECT = (
    "assistant_model", "assistant_tokenizer", "negative_prompt_ids", "negative_prompt_attention_mask", "synced_gpus",
)  # fmt: skip
"""Arguments of `generate` that never reach such a loop."""


def with_whole_call(loop: Callable[..., Any], arguments: dict[str, Any]) -> tuple[Callable[..., Any], dict[str, Any]]:
    """
    A decoding loop and the arguments of `generate`, so that nothing is lost between them.

    Args:
        loop (`Callable`): For `custom_generate`; its `tokenizer`, or that of the object whose method it is, reads
            stop strings.
        arguments (`dict[str, Any]`): Named ones of `generate`.

    Returns:
        `tuple`: Both, with the streamer bound to the loop and stop strings turned into a stopping criterion.

    Raises:
        `ValueError`: For an argument without effect, or stop strings without a tokenizer.
    """
    for name in WITHOUT_EFFECT:
        if arguments.get(name) is not None and arguments[name] is not False:
            raise ValueError(f"{name} is not supported by {type(loop).__name__}: leave it out")
    arguments = dict(arguments)
    owner = getattr(loop, "__self__", loop)  # of a method
    tokenizer = arguments.pop("tokenizer", None) or getattr(owner, "tokenizer", None)
    config = arguments.get("generation_config")
    strings = arguments.pop("stop_strings", None)
    if strings is None and config is not None and config.stop_strings is not None:
        strings = config.stop_strings
        arguments["generation_config"] = config = copy.deepcopy(config)
        config.stop_strings = None
    if strings is not None:
        if tokenizer is None:
            raise ValueError(f"stop_strings={strings!r} needs a tokenizer to be found: pass tokenizer=...")
        criterion = StopStringCriteria(tokenizer=tokenizer, stop_strings=strings)
        arguments["stopping_criteria"] = StoppingCriteriaList([*(arguments.get("stopping_criteria") or ()), criterion])
    streamer = arguments.pop("streamer", None)
    return (loop if streamer is None else functools.partial(loop, streamer=streamer)), arguments
