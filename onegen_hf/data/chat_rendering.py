"""Messages → text segments, through the tokenizer's own chat template."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from ..configuration import OneGenConfig

Message = Mapping[str, str]

PLAIN_CHAT_TEMPLATE = (
    "{{ bos_token or '' }}{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}Assistant: {{ message['content'] }}{{ eos_token or '' }}\n"
    "{% else %}{{ message['role'] | capitalize }}: {{ message['content'] }}\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}Assistant: {% endif %}"
)
"""Used for tokenizers that have no chat template."""


@dataclass(frozen=True)
class Segment:
    """A piece of rendered conversation; `assistant` tells the model's own text from everything around it."""

    text: str
    assistant: bool


def render(messages: Sequence[Message], tokenizer: PreTrainedTokenizerBase, config: OneGenConfig) -> list[Segment]:
    """
    Render a conversation and tell where the assistant's content stands in it.

    The template runs on placeholders, so that it works for every template that copies the content, and the text in
    front of an assistant turn is the same in training and as a prompt (templates often differ between the two).

    Args:
        messages (`Sequence[Mapping]`): `{"role": ..., "content": ...}`, at least one with the role `"assistant"`.
        tokenizer (`PreTrainedTokenizerBase`): Its chat template is used, else [`PLAIN_CHAT_TEMPLATE`].
        config (`OneGenConfig`): Supplies the system turn for conversations that have none, and perhaps a chat
            template that goes before the tokenizer's.

    Returns:
        `list[Segment]`: Around and assistant segments in turn; the last one is what follows the last assistant turn.

    Raises:
        `ValueError`: If there is no assistant message, a message lacks a field, or the template drops the content.
    """
    contents: list[str] = []
    stubs: list[dict[str, str]] = []
    for message in messages:
        if not {"role", "content"} <= set(message):
            raise ValueError(f"messages: every message needs 'role' and 'content', got {sorted(message)}")
        if message["role"] == "assistant":
            stubs.append({"role": "assistant", "content": f"\u27eaassistant turn {len(contents)}\u27eb"})
            contents.append(message["content"])
        else:
            stubs.append(dict(message))
    if not contents:
        raise ValueError(f"messages: no message has the role 'assistant' (roles: {[m['role'] for m in messages]})")
    if config.system_prompt is not None and stubs[0]["role"] != "system":
        stubs.insert(0, {"role": "system", "content": config.system_prompt})
    template = config.chat_template or tokenizer.chat_template or PLAIN_CHAT_TEMPLATE
    text = tokenizer.apply_chat_template(stubs, tokenize=False, chat_template=template)
    segments: list[Segment] = []
    for number, content in enumerate(contents):
        around, found, text = text.partition(f"\u27eaassistant turn {number}\u27eb")
        if not found:
            raise ValueError(
                f"messages: the tokenizer's chat template does not print the content of assistant turn {number}. Set "
                "`tokenizer.chat_template` to one that does."
            )
        segments += [Segment(around, False), Segment(content, True)]
    return [*segments, Segment(text, False)]


def render_prompt(question: str, tokenizer: PreTrainedTokenizerBase, config: OneGenConfig) -> str:
    """The text in front of the assistant's answer to `question`, exactly as in training."""
    user = {"role": "user", "content": config.prompt_template.format(question=question)}
    return render([user, {"role": "assistant", "content": ""}], tokenizer, config)[0].text


def split_assistant(content: str, config: OneGenConfig) -> list[tuple[str, str]]:
    """
    Cut an assistant's content at retrieval tokens and paragraphs.

    Returns:
        `list[tuple[str, str]]`: (kind, text) in order; kind is `"text"`, `"query"`, `"continuation"` or
        `"paragraph"` (whose text stands without its tags). No text is lost.

    Raises:
        `ValueError`: If a paragraph is opened and not closed, or the other way round.
    """
    tokens = config.tokens
    kinds = {tokens.query: "query"}
    if tokens.continuation is not None:
        kinds[tokens.continuation] = "continuation"
    tags = [tag for tag in (tokens.paragraph_open, tokens.paragraph_close) if tag is not None]
    paragraph = "(.*?)".join(map(re.escape, tags)) if tags else "(?!)()"
    pattern = re.compile(f"{paragraph}|({'|'.join(map(re.escape, kinds))})", flags=re.DOTALL)
    pieces: list[tuple[str, str]] = []
    start = 0

    def add_text(text: str) -> None:
        if any(tag in text for tag in tags):
            raise ValueError(f"messages: unbalanced {' and '.join(tags)} near {text[-60:]!r}")
        if text:
            pieces.append(("text", text))

    for match in pattern.finditer(content):
        add_text(content[start : match.start()])
        pieces.append(("paragraph", match[1]) if match[2] is None else (kinds[match[2]], match[2]))
        start = match.end()
    add_text(content[start:])
    return pieces
