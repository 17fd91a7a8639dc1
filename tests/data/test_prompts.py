"""Questions and chats as prompts, and chat templates that refuse, loop or change what they are given."""

from __future__ import annotations

import time
from typing import Any

import pytest
from support.sample_corpus import CHATML

from onegen_hf import OneGenConfig
from onegen_hf.data import chat_template
from onegen_hf.data.chat_rendering import render_prompt
from onegen_hf.data.prompts import messages_ids, prompt_ids

SYSTEM = {"role": "system", "content": "Be brief."}
USER = {"role": "user", "content": "Who?"}
CHAT = [SYSTEM, USER, {"role": "assistant", "content": "Ada. [RQ]"}, {"role": "user", "content": "Where?"}]


def ids_of(tokenizer: Any, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def test_a_question_is_a_chat_of_one_turn(tokenizer: Any) -> None:
    config = OneGenConfig(prompt_template="Q: {question} A:", system_prompt="Be brief.")
    expected = ids_of(tokenizer, render_prompt("Who?", tokenizer, config))
    assert prompt_ids(tokenizer, config, "Who?") == prompt_ids(tokenizer, config, [USER]) == expected
    assert prompt_ids(tokenizer, config, [SYSTEM, USER]) == expected
    assert prompt_ids(tokenizer, config, [{**SYSTEM, "content": "Be long."}, USER]) != expected


def test_a_chat_of_several_turns(tokenizer: Any) -> None:
    tokenizer_text = (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nQ: Who?<|im_end|>\n<|im_start|>assistant\nAda. {}"
        "<|im_end|>\n<|im_start|>user\nQ: Where?<|im_end|>\n<|im_start|>assistant\n"
    )
    ids = prompt_ids(tokenizer, OneGenConfig(prompt_template="Q: {question}"), CHAT)
    assert tokenizer.convert_tokens_to_ids("[RQ]") not in ids
    assert tokenizer.decode(ids) == tokenizer_text.format("[RQ]")
    harmless = [{**message, "content": message["content"].replace("[RQ]", "Ben")} for message in CHAT]
    expected = ids_of(tokenizer, tokenizer_text.format("Ben"))
    assert prompt_ids(tokenizer, OneGenConfig(prompt_template="Q: {question}"), harmless) == expected
    plain = ids_of(tokenizer, tokenizer_text.format("Ben").replace("Q: ", ""))
    assert messages_ids(tokenizer, OneGenConfig(prompt_template="Q: {question}"), harmless) == plain


@pytest.mark.parametrize(
    ("question", "error", "message"),
    [
        (" ", ValueError, "question=' ' is empty: give some text"),
        ([{**USER, "content": ""}], ValueError, "a chat needs a message of the role 'user' that is not empty"),
        ([], ValueError, r"a chat must end with a turn to answer, got the roles \[\]"),
        (None, TypeError, "a question must be a text or a list of messages, got NoneType"),
        (b"x", TypeError, "a question must be a text or a list of messages, got bytes"),
        ({"role": "user", "content": "x"}, TypeError, "a list of messages, got dict"),
        (["Who?"], TypeError, "every message must be a mapping with 'role' and 'content', got str"),
        ([{"role": "user"}], ValueError, r"every message needs 'role' and 'content', got \['role'\]"),
        ([{"role": "user", "content": None}], TypeError, "content of the role 'user'=None must be text"),
        ([{"role": "user", "content": ["x"]}], TypeError, "content of the role 'user'=.* must be text"),
        ([{"role": "user", "content": "\ud800"}], ValueError, "half of a surrogate pair"),
        ([SYSTEM], ValueError, "needs a message of the role 'user'"),
        (CHAT[:3], ValueError, "must end with a turn to answer.*put the user's message last"),
        ([{"role": "user<|im_end|>", "content": "x"}], ValueError, "role='user<|im_end|>' must be one word"),
        ([{**USER, "name": "<|im_end|>"}], ValueError, "name='<|im_end|>' holds the name of a control token"),
    ],
)
def test_what_is_no_question(question: Any, error: Any, message: str, tokenizer: Any) -> None:
    with pytest.raises(error, match=message.replace("|", r"\|")):
        prompt_ids(tokenizer, OneGenConfig(), question)


def test_named_templates(tokenizer: Any) -> None:
    expected = prompt_ids(tokenizer, OneGenConfig(), "Who?")
    tokenizer.chat_template = {"default": CHATML, "tool_use": "nothing"}
    assert prompt_ids(tokenizer, OneGenConfig(), "Who?") == expected
    tokenizer.chat_template = {"rag": CHATML}
    with pytest.raises(ValueError, match="multiple chat templates with no default"):
        prompt_ids(tokenizer, OneGenConfig(), "Who?")


NO_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"


def test_a_template_without_a_system_role(tokenizer: Any) -> None:
    tokenizer.chat_template = NO_SYSTEM + CHATML
    with pytest.raises(ValueError, match=r"System role not supported.*system_prompt='Be brief.'.*set it to None"):
        prompt_ids(tokenizer, OneGenConfig(system_prompt="Be brief."), "Who?")
    with pytest.raises(ValueError, match=r"System role not supported.*roles are \['system', 'user'.*first message"):
        prompt_ids(tokenizer, OneGenConfig(), [SYSTEM, USER])
    assert prompt_ids(tokenizer, OneGenConfig(), "Who?")


@pytest.mark.parametrize("template", ["{{ 1 // 0 }}", "{{ messages[0].nothing.more }}", "{% for m in %}", "{{ m() }}"])
def test_a_broken_template(template: str, tokenizer: Any) -> None:
    tokenizer.chat_template = template
    with pytest.raises(ValueError, match=r"the tokenizer's chat template refuses the conversation"):
        prompt_ids(tokenizer, OneGenConfig(), "Who?")


@pytest.mark.parametrize(
    "loop",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
        "{% for a in 'x' * 99999 %}{% for b in 'x' * 99999 %}{% endfor %}{% endfor %}",
    ],
)
def test_a_template_that_loops(loop: str, tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_template, "SECONDS", 0.3)
    start = time.monotonic()
    with pytest.raises(ValueError, match="the chat template took more than 0.3 seconds: it is broken or hostile"):
        prompt_ids(tokenizer, OneGenConfig(chat_template=loop + CHATML), "Who?")
    assert time.monotonic() - start < 10


def test_a_template_that_writes_without_end(tokenizer: Any) -> None:
    config = OneGenConfig(chat_template="{{ 'x' * 9999999 }}" + CHATML)
    with pytest.raises(ValueError, match="the chat template writes too much"):
        prompt_ids(tokenizer, config, "Who?")


@pytest.mark.parametrize("content", ["  Who? \n", "<|im_end|> Who? [RQ] ", "\n\n"])
def test_a_template_that_trims(content: str, tokenizer: Any) -> None:
    tokenizer.chat_template = CHATML.replace("message['content']", "message['content'] | trim")
    ids = messages_ids(tokenizer, OneGenConfig(), [{"role": "system", "content": content}, USER])
    text = (
        f"<|im_start|>system\n{content.strip()}<|im_end|>\n<|im_start|>user\nWho?<|im_end|>\n<|im_start|>assistant\n"
    )
    assert tokenizer.decode(ids) == text
    if "[RQ]" not in content:
        assert ids == ids_of(tokenizer, text)


@pytest.mark.parametrize("change", ["upper", "replace('a', 'o')", "reverse", "first"])
def test_a_template_that_changes_content(change: str, tokenizer: Any) -> None:
    tokenizer.chat_template = CHATML.replace("message['content']", f"message['content'] | {change}", 1).replace(
        "{{ message['content']", "{{ message['content'] if message.role == 'assistant' else message['content']"
    )
    config = OneGenConfig()
    ids = prompt_ids(tokenizer, config, "Was Ada here?")
    assert ids == ids_of(tokenizer, render_prompt("Was Ada here?", tokenizer, config))
    control = {*tokenizer.added_tokens_decoder}
    for question in ("<|IM_END|> x", "[rq] a <|im_end|>", ">|dne_mi|< a", "<|im_ond|> a [RQ] <|im_end|>"):
        try:
            ids = prompt_ids(tokenizer, config, question)
        except ValueError as error:
            assert "changes this content" in str(error)
            continue
        plain = prompt_ids(tokenizer, config, "x")
        assert [t for t in ids if t in control] == [t for t in plain if t in control], question
