"""Messages → text segments."""

from __future__ import annotations

from typing import Any

import pytest

from onegen_hf import OneGenConfig, RetrievalTokens
from onegen_hf.data.chat_rendering import Segment, render, render_prompt, split_assistant

# Drops the thoughts of earlier turns, trims contents, writes bos itself and an end-of-turn token that is not eos.
TRIMMING = (
    "{{ bos_token }}{% for m in messages %}[{{ m['role'] }}]{{ m['content'] | trim }}"
    "{% if m['role'] == 'assistant' and not loop.last %}</done>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}[assistant]think:{% endif %}"
)
USER = {"role": "user", "content": "Who?"}
ANSWER = {"role": "assistant", "content": "  Ada [RQ] "}


def test_chatml(tokenizer: Any) -> None:
    assert render([USER, ANSWER], tokenizer, OneGenConfig()) == [
        Segment("<|im_start|>user\nWho?<|im_end|>\n<|im_start|>assistant\n", False),
        Segment("  Ada [RQ] ", True),
        Segment("<|im_end|>\n", False),
    ]


def test_plain_template(plain_tokenizer: Any) -> None:
    assert render([USER, ANSWER], plain_tokenizer, OneGenConfig()) == [
        Segment("<|bos|>User: Who?\nAssistant: ", False),
        Segment("  Ada [RQ] ", True),
        Segment("<|im_end|>\n", False),
    ]


def test_a_template_that_trims_and_writes_bos(tokenizer: Any) -> None:
    tokenizer.chat_template = TRIMMING
    segments = render([USER, ANSWER, USER, ANSWER], tokenizer, OneGenConfig())
    assert [segment.text for segment in segments] == [
        "<|bos|>[user]Who?[assistant]", "  Ada [RQ] ", "</done>[user]Who?[assistant]", "  Ada [RQ] ", "",
    ]  # fmt: skip
    assert [segment.assistant for segment in segments] == [False, True, False, True, False]


@pytest.mark.parametrize("template", ["chatml", "plain", "trimming"])
def test_prompt_is_the_text_before_the_answer(template: str, tokenizer: Any, plain_tokenizer: Any) -> None:
    tokenizer = plain_tokenizer if template == "plain" else tokenizer
    if template == "trimming":
        tokenizer.chat_template = TRIMMING
    config = OneGenConfig(prompt_template="Q: {question}", system_prompt="Be brief.")
    messages = [{"role": "user", "content": "Q: Who?"}, ANSWER]
    assert render_prompt("Who?", tokenizer, config) == render(messages, tokenizer, config)[0].text
    assert "Be brief." in render_prompt("Who?", tokenizer, config)


def test_question_with_braces(tokenizer: Any) -> None:
    assert "Q: {x} {question} 100%" in render_prompt(
        "{x} {question} 100%", tokenizer, OneGenConfig(prompt_template="Q: {question}")
    )


def test_system_prompt_only_where_there_is_none(tokenizer: Any) -> None:
    config = OneGenConfig(system_prompt="Be brief.")
    assert render([USER, ANSWER], tokenizer, config)[0].text.startswith("<|im_start|>system\nBe brief.<|im_end|>\n")
    own = render([{"role": "system", "content": "Be long."}, USER, ANSWER], tokenizer, config)[0].text
    assert "Be long." in own and "Be brief." not in own


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([USER], r"no message has the role 'assistant' \(roles: \['user'\]\)"),
        ([{"role": "user"}, ANSWER], r"every message needs 'role' and 'content', got \['role'\]"),
        ([USER, {"content": "x"}], r"every message needs 'role' and 'content', got \['content'\]"),
    ],
)
def test_malformed_messages(messages: Any, message: str, tokenizer: Any) -> None:
    with pytest.raises(ValueError, match=message):
        render(messages, tokenizer, OneGenConfig())


def test_a_template_that_drops_the_answer(tokenizer: Any) -> None:
    tokenizer.chat_template = (
        "{% for m in messages %}{% if m['role'] == 'user' %}{{ m['content'] }}{% endif %}{% endfor %}"
    )
    with pytest.raises(
        ValueError, match="does not print the content of assistant turn 0. Set `tokenizer.chat_template`"
    ):
        render([USER, ANSWER], tokenizer, OneGenConfig())


@pytest.mark.parametrize(
    ("content", "pieces"),
    [
        ("", []),
        ("only text", [("text", "only text")]),
        ("[RQ]", [("query", "[RQ]")]),
        ("a[RQ]b", [("text", "a"), ("query", "[RQ]"), ("text", "b")]),
        ("[RQ][RQ] ", [("query", "[RQ]"), ("query", "[RQ]"), ("text", " ")]),
        ("a[RQ]<paragraph>P</paragraph>b", [("text", "a"), ("query", "[RQ]"), ("paragraph", "P"), ("text", "b")]),
        ("<paragraph>x\n[RQ]\ny</paragraph>", [("paragraph", "x\n[RQ]\ny")]),
        ("<paragraph></paragraph>", [("paragraph", "")]),
        ("<paragraph>1</paragraph><paragraph>2</paragraph>", [("paragraph", "1"), ("paragraph", "2")]),
        ("[CON] is a word here", [("text", "[CON] is a word here")]),
    ],
)
def test_split_assistant(content: str, pieces: list[tuple[str, str]]) -> None:
    assert split_assistant(content, OneGenConfig()) == pieces


def test_split_assistant_with_a_continuation_token() -> None:
    config = OneGenConfig(tokens=RetrievalTokens.entity_linking())
    assert split_assistant("<MENTION>Ada</MENTION>[LK][CON] was", config) == [
        ("text", "<MENTION>Ada</MENTION>"), ("query", "[LK]"), ("continuation", "[CON]"), ("text", " was"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "content", ["a<paragraph>b", "a</paragraph>b", "<paragraph>a</paragraph></paragraph>", "</paragraph>a<paragraph>"]
)
def test_unbalanced_paragraphs(content: str) -> None:
    with pytest.raises(ValueError, match="unbalanced <paragraph> and </paragraph> near"):
        split_assistant(content, OneGenConfig())
