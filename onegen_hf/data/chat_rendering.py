"""Messages → text segments, through the tokenizer's own chat template."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

from transformers import PreTrainedTokenizerBase

from data_builders.schema import UNLABELLED_CLOSE, UNLABELLED_OPEN

from ..configuration import OneGenConfig
from .chat_template import PLAIN_CHAT_TEMPLATE, apply_chat_template
from .earlier_retrievals import EarlierRetrieval
from .messages import Message, Turn, check_chat, check_message
from .text_tokenizer import Span, TextTokenizer

__all__ = [
    "PLAIN_CHAT_TEMPLATE",
    "Message",
    "Segment",
    "render",
    "render_chat",
    "render_messages",
    "render_prompt",
    "render_question",
    "split_assistant",
]
_DIGITS = 36
_BASE = f"{secrets.randbelow(10**_DIGITS):0{_DIGITS}d}"


@dataclass(frozen=True)
class Segment:
    """
    A piece of rendered conversation.

    Args:
        text (`str`)
        assistant (`bool`): Whether it is the model's own text, and not something around it.
        spans (`tuple[tuple[int, int], ...]`, *optional*): Which parts of `text` are text of messages and not the
            template's: those that [`TextTokenizer.mixed_ids`] reads without control tokens.
        retrievals (`tuple[EarlierRetrieval, ...]`, *optional*): What was retrieved in a turn of the assistant, if it
            does not stand in `text`.
    """

    text: str
    assistant: bool
    spans: tuple[Span, ...] = field(default=(), compare=False)
    retrievals: tuple[EarlierRetrieval, ...] = ()


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
        `ValueError`: If there is no assistant message, a message lacks a field, or the template refuses the
            conversation or drops content.
    """
    for message in messages:
        check_message(message)
    turns = [Turn.of(message, answer=message["role"] == "assistant") for message in messages]
    if not any(turn.answer for turn in turns):
        raise ValueError(f"messages: no message has the role 'assistant' (roles: {[turn.role for turn in turns]})")
    return _render(turns, tokenizer, config)


def render_chat(
    question: str | Sequence[Message], tokenizer: PreTrainedTokenizerBase, config: OneGenConfig
) -> list[Segment]:
    """
    Everything in front of the assistant's answer, exactly as in training.

    Args:
        question (`str` or `Sequence[Mapping]`): A question, or a chat that ends with a turn of the user. The
            checkpoint's `prompt_template` is put around every turn of the user, as around a question.
        tokenizer (`PreTrainedTokenizerBase`)
        config (`OneGenConfig`)

    Returns:
        `list[Segment]`: One, or around the turns with `retrievals` and these in turn.

    Raises:
        `TypeError` or `ValueError`: If there is no question, a message is malformed, or the template refuses it.
    """
    if isinstance(question, str):
        messages: Sequence[Message] = [{"role": "user", "content": question}]
        check_message(messages[0])
    else:
        messages = check_chat(question)
    turns = [Turn.of_chat(message) for message in messages]
    asked = [turn.asked_with(config.prompt_template) if turn.role == "user" else turn for turn in turns]
    return _before_answer(asked, tokenizer, config)


def render_question(question: str, tokenizer: PreTrainedTokenizerBase, config: OneGenConfig) -> Segment:
    """[`render_chat`] for a question without a chat around it."""
    return render_chat(question, tokenizer, config)[0]


def render_messages(messages: Sequence[Message], tokenizer: PreTrainedTokenizerBase, config: OneGenConfig) -> Segment:
    """Everything in front of the answer to messages that are whole prompts already, as those of a dataset are."""
    return _before_answer([Turn.of(message) for message in check_chat(messages)], tokenizer, config)[0]


def render_prompt(question: str, tokenizer: PreTrainedTokenizerBase, config: OneGenConfig) -> str:
    """
    The text in front of the assistant's answer to `question`. To tokenize it, call
    [`~onegen_hf.data.prompts.prompt_ids`], which keeps the question from being read as control tokens.
    """
    asked = Turn("user", ((question, True),)).asked_with(config.prompt_template)
    return _before_answer([asked], tokenizer, config)[0].text


def _before_answer(turns: list[Turn], tokenizer: PreTrainedTokenizerBase, config: OneGenConfig) -> list[Segment]:
    return _render([*turns, Turn("assistant", (("", True),), answer=True)], tokenizer, config)[:-2]


Filled = tuple[str, tuple[Span, ...]]
"""A template's text with the texts of messages in it, and where these stand."""


def _render(turns: Sequence[Turn], tokenizer: PreTrainedTokenizerBase, config: OneGenConfig) -> list[Segment]:
    texts = TextTokenizer.of(tokenizer, config.tokens)
    if config.system_prompt is not None and turns[0].role != "system":
        turns = [Turn("system", ((config.system_prompt, False),)), *turns]
    for turn in turns:
        for name, value in turn.others.items():
            if texts.names_control(str(value)):
                raise ValueError(f"messages: {name}={value!r} holds the name of a control token: leave it out")
    marks = _Marks(turns)
    answers = [turn for turn in turns if turn.answer]
    places = [marks.add(answer.content) for answer in answers]
    place = iter(places)
    marked, plain = [], []
    for turn in turns:
        content = next(place) if turn.answer else None
        marked.append(
            {"role": turn.role, "content": marks.content(turn) if content is None else content, **turn.others}
        )
        plain.append({"role": turn.role, "content": turn.content if content is None else content, **turn.others})
    arounds = _cut(apply_chat_template(marked, tokenizer, config), places)
    filled = [marks.fill(around) for around in arounds]
    if marked != plain:
        written = [marks.fill(around) for around in _cut(apply_chat_template(plain, tokenizer, config), places)]
        if [text for text, _ in written] != [text for text, _ in filled]:
            filled = _changed_by_template(turns, arounds, filled, written, texts)
    segments = [Segment(filled[0][0], False, filled[0][1])]
    for answer, (text, spans) in zip(answers, filled[1:], strict=True):
        segments += [Segment(answer.content, True, retrievals=answer.retrievals), Segment(text, False, spans)]
    return segments


def _cut(rendered: str, places: Sequence[str]) -> list[str]:
    """What stands around the answers."""
    arounds = []
    for number, place in enumerate(places):
        around, found, rendered = rendered.partition(place)
        if not found:
            raise ValueError(
                f"messages: the tokenizer's chat template does not print the content of assistant turn {number}. Set "
                "`tokenizer.chat_template` to one that does."
            )
        arounds.append(around)
    return [*arounds, rendered]


def _changed_by_template(
    turns: Sequence[Turn], arounds: list[str], filled: list[Filled], written: list[Filled], texts: TextTokenizer
) -> list[Filled]:
    """
    For a template that makes something else of texts than of marks (some change case, or cut at `</think>`): what it
    makes of the texts, unless a control token came in with them.
    """
    users_texts = [(turn.role, text) for turn in turns if not turn.answer for text, users in turn.parts if users]
    harmless = not any(texts.names_control(text) for _, text in users_texts)
    if harmless and all(
        texts.control_ids(around) == texts.control_ids(text)
        for around, (text, _) in zip(arounds, written, strict=True)
    ):
        return written
    printed = "".join(text for text, _ in filled)
    for role, text in users_texts:
        if text.strip() not in printed:
            raise ValueError(
                f"messages: the content of the role {role!r} holds the name of a control token, and the chat template "
                "changes this content, so that it can't be told from the template's own tokens: take the name out"
            )
    return filled


class _Marks:
    """Random digits that stand for texts while a template runs; no text of the conversation holds them."""

    def __init__(self, turns: Sequence[Turn]) -> None:
        contents = [turn.content for turn in turns]
        self._texts: list[str] = []
        self._base = _BASE  # of the process: its pattern is compiled once
        while any(self._base in content for content in contents):
            self._base = f"{secrets.randbelow(10**_DIGITS):0{_DIGITS}d}"
        self._pattern = re.compile(rf"{self._base}(\d{{6}})")

    def add(self, text: str) -> str:
        """The mark of a text."""
        self._texts.append(text)
        return f"{self._base}{len(self._texts) - 1:06d}"

    def content(self, turn: Turn) -> str:
        """A turn with marks for the texts of users; space at their ends stays, for templates that trim content."""
        content = ""
        for text, users in turn.parts:
            core = text.strip() if users else ""
            before, _, after = text.partition(core) if core else (text, "", "")
            content += f"{before}{self.add(core)}{after}" if core else text
        return content

    def fill(self, around: str) -> Filled:
        """A template's text with the texts in the places of their marks."""
        filled, last = "", 0
        spans: list[Span] = []
        for match in self._pattern.finditer(around):
            filled += around[last : match.start()]
            last = match.end()
            text = self._texts[int(match[1])]
            spans.append((len(filled), len(filled) + len(text)))
            filled += text
        return filled + around[last:], tuple(spans)


def split_assistant(content: str, config: OneGenConfig) -> list[tuple[str, str]]:
    """
    Cut an assistant's content at retrieval tokens, paragraphs and unlabelled spans.

    Returns:
        `list[tuple[str, str]]`: (kind, text) in order; kind is `"text"`, `"query"`, `"continuation"`, `"paragraph"` or
        `"unlabelled"` (the text of the last two stands without its tags). No text is lost.

    Raises:
        `ValueError`: If a paragraph or an unlabelled span is opened and not closed, or the other way round.
    """
    tokens = config.tokens
    kinds = {tokens.query: "query"}
    if tokens.continuation is not None:
        kinds[tokens.continuation] = "continuation"
    tags = [tag for tag in (tokens.paragraph_open, tokens.paragraph_close) if tag is not None]
    paragraph = "(.*?)".join(map(re.escape, tags)) if tags else "(?!)()"
    unlabelled = "(.*?)".join((UNLABELLED_OPEN, UNLABELLED_CLOSE))
    pattern = re.compile(f"{paragraph}|({'|'.join(map(re.escape, kinds))})|{unlabelled}", flags=re.DOTALL)
    pairs = [pair for pair in (tags, [UNLABELLED_OPEN, UNLABELLED_CLOSE]) if pair]
    pieces: list[tuple[str, str]] = []
    start = 0

    def add_text(text: str) -> None:
        for pair in pairs:
            if any(tag in text for tag in pair):
                raise ValueError(f"messages: unbalanced {' and '.join(pair)} near {text[-60:]!r}")
        if text:
            pieces.append(("text", text))

    for match in pattern.finditer(content):
        add_text(content[start : match.start()])
        paragraph_text, token, unlabelled_text = match.groups()
        if token is not None:
            pieces.append((kinds[token], token))
        elif unlabelled_text is not None:
            pieces.append(("unlabelled", unlabelled_text))
        else:
            pieces.append(("paragraph", paragraph_text))
        start = match.end()
    add_text(content[start:])
    return pieces
