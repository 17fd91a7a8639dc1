"""Running a chat template, which may come from a stranger's checkpoint: bounded in time and size, errors explained."""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from jinja2.exceptions import TemplateError
from transformers import PreTrainedTokenizerBase

from ..configuration import OneGenConfig
from .bounded_template import BoundedTemplate, TooLargeError

PLAIN_CHAT_TEMPLATE = (
    "{{ bos_token or '' }}{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}Assistant: {{ message['content'] }}{{ eos_token or '' }}\n"
    "{% else %}{{ message['role'] | capitalize }}: {{ message['content'] }}\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}Assistant: {% endif %}"
)
"""Used for tokenizers that have no chat template."""
SECONDS = 10.0
"""The longest that a template may run; usual ones take less than a thousandth of it."""
MOST_CHARACTERS = 1_000_000
"""What a template may write beyond a hundred times what it was given."""


def chat_template_of(tokenizer: PreTrainedTokenizerBase, config: OneGenConfig) -> str:
    """
    The template of a checkpoint's conversations; of several named ones that a tokenizer may have, the default.

    Raises:
        `ValueError`: If the tokenizer has named templates and none of them is the default.
    """
    if config.chat_template is not None:
        return config.chat_template
    return tokenizer.get_chat_template() if tokenizer.chat_template else PLAIN_CHAT_TEMPLATE


def apply_chat_template(
    messages: Sequence[Mapping[str, Any]], tokenizer: PreTrainedTokenizerBase, config: OneGenConfig
) -> str:
    """
    Render messages as one text.

    Raises:
        `ValueError`: If the template refuses the messages, fails, takes too long or writes too much.
    """
    template = chat_template_of(tokenizer, config)
    limit = MOST_CHARACTERS + 100 * sum(len(str(message)) for message in messages)
    limit = 1 << limit.bit_length()  # of few different values, since each is compiled once
    try:
        # A trial with limits on time and size; what passes it passes again with the same input.
        with time_limit(SECONDS):
            _bounded(template, limit).check(
                messages=list(messages),
                tools=None,
                documents=None,
                add_generation_prompt=False,
                **tokenizer.special_tokens_map,
            )
        rendered = tokenizer.apply_chat_template(list(messages), tokenize=False, chat_template=template)
    except TooLargeError as error:
        raise ValueError(
            f"the chat template writes too much ({error}): it is broken or hostile. Set `chat_template` in the "
            "checkpoint's onegen section, or `tokenizer.chat_template`, to one that prints the messages."
        ) from None
    except TimeoutError:
        raise ValueError(
            f"the chat template took more than {SECONDS:g} seconds: it is broken or hostile. Set `chat_template` in "
            "the checkpoint's onegen section, or `tokenizer.chat_template`, to one that prints the messages."
        ) from None
    except (TemplateError, TypeError, ValueError, ArithmeticError, MemoryError, RecursionError) as error:
        raise ValueError(_refusal(messages, config, error)) from error
    text = str(rendered)
    if len(text) > limit:
        raise ValueError(f"the chat template wrote {len(text)} characters, more than {limit}: it is broken or hostile")
    return text


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """
    Stop Python code of this thread that runs for too long, with a `TimeoutError`.

    A trace function looks at the clock at every call, and at every line of code without a file, such as a compiled
    template. It belongs to this thread alone, unlike a signal, and needs no process. A single call into C is not
    interrupted; [`BoundedTemplate`] keeps those short.
    """
    end = time.monotonic() + seconds

    def trace(frame: Any, event: str, argument: Any) -> Any:
        if time.monotonic() > end:
            raise TimeoutError
        return trace if event != "call" or frame.f_code.co_filename.startswith("<") else None

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


@functools.lru_cache(maxsize=8)
def _bounded(source: str, limit: int) -> BoundedTemplate:
    return BoundedTemplate(source, limit)


def _refusal(messages: Sequence[Mapping[str, Any]], config: OneGenConfig, error: Exception) -> str:
    roles = [message["role"] for message in messages]
    reason = f"the tokenizer's chat template refuses the conversation ({str(error) or type(error).__name__})"
    if config.system_prompt is not None and roles[0] == "system":
        return (
            f"{reason}. system_prompt={config.system_prompt!r} adds a system turn, which some models do not have: set "
            "it to None and write it into prompt_template, or set a `chat_template` that has system turns."
        )
    if "system" in roles:
        return (
            f"{reason}. Its roles are {roles}: some models have no role 'system'. Write its text into the first "
            "message of the user, or set a `chat_template` that has system turns."
        )
    return (
        f"{reason}. Its roles are {roles}: give turns of 'user' and 'assistant' in alternation, or set another "
        "`chat_template`."
    )
