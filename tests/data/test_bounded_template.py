"""A template whose values would outgrow their limit is stopped before the operation that would do it."""

from __future__ import annotations

from typing import Any

import pytest

from onegen_hf import OneGenConfig
from onegen_hf.data.bounded_template import BoundedTemplate, TooLargeError
from onegen_hf.data.chat_template import apply_chat_template

MESSAGES = [{"role": "user", "content": "Hello there. " * 20}]
LIMIT = 1_000_000
SIXTY_TIMES = "{{% set ns = namespace(x={start}) %}}{{% for a in range(60) %}}{step}{{% endfor %}}"

TOO_LARGE = {
    "product": '{{ "x" * 10**10 }}',
    "product of the message": "{% set n = 10**10 %}{{ n * messages[0].content }}",
    "list": "{{ [1] * 10**10 }}",
    "power": "{{ 9**(9**9) }}",
    "width": '{{ "%9999999999d" | format(1) }}',
    "width of an operator": '{{ "%9999999999d" % 1 }}',
    "width as an argument": '{{ "%*d" % (9999999999, 1) }}',
    "width of a method": '{{ "{:>9999999999}".format(1) }}',
    "nested width": '{{ "{:>{}}".format(1, 9999999999) }}',
    "many widths": '{{ ("{:>999999}" * 1000).format(1, 2) }}',
    "date": "{{ strftime_now('%9999999999d') }}",
    "center": '{{ "x".center(9999999999) }}',
    "center as a filter": '{{ "x" | center(9999999999) }}',
    "tabs": r'{{ ("\t" * 1000).expandtabs(10**7) }}',
    "indent": r'{{ ("\n" * 10000) | indent(10**6) }}',
    "json": "{{ [[1]] | tojson(indent=10**10) }}",
    "replace": '{% set x = "a" * 500000 %}{{ x.replace("a", x) }}',
    "translate": "{{ ('a' * 100000).translate({97: 'x' * 100000}) }}",
    "join": "{{ 'x' | list | join('y' * 10**10) }}",
    "generator": "{{ range(99999) | map('string') | map('center', 99999) | join }}",
    "bytes": "{{ (1).to_bytes(10**10, 'big') }}",
    "sum": "{{ ([[1] * 100000] * 1000) | sum(start=[]) }}",
    "output": "{% set x = 'x' * 100000 %}{% for a in range(99999) %}{{ x }}{% endfor %}",
    "doubling": SIXTY_TIMES.format(start="'x'", step="{% set ns.x = ns.x ~ ns.x %}"),
    "adding": SIXTY_TIMES.format(start="'x'", step="{% set ns.x = ns.x + ns.x %}"),
    "block": SIXTY_TIMES.format(start="'x'", step="{% set y %}{{ ns.x }}{{ ns.x }}{% endset %}{% set ns.x = y %}"),
    "nested lists": SIXTY_TIMES.format(start="['x']", step="{% set ns.x = [ns.x, ns.x] %}") + "{{ ns.x }}",
    "nested lists as json": SIXTY_TIMES.format(start="[1]", step="{% set ns.x = [ns.x, ns.x] %}")
    + "{{ ns.x|tojson }}",
    # Jinja computes constants where they never run, too.
    "dead product": '{% if false %}{{ "x" * 10**10 }}{% endif %}',
    "dead filter": '{% if false %}{{ "x" | center(10**10) }}{% endif %}',
    "many dead products": "{% if false %}" + '{{ "x" * 100000 }}' * 100 + "{% endif %}",
}
USUAL = {
    "chatml": "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}",
    "trim and set": (
        "{% for m in messages %}{% set content = '<|' + m['role'] + '|>' + m['content'] | trim %}"
        "{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}"
    ),
    "alternation": (
        "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('no') }}"
        "{% endif %}{{ '[INST] ' ~ m.content ~ ' [/INST]' }}{% endfor %}"
    ),
    "macro": (
        "{% macro show(x, depth) %}{{ '  ' * depth }}{{ x | tojson(indent=4) }}\n{% endmacro %}"
        "{% for m in messages %}{{ show(m, 2) }}{% endfor %}{% if tools %}tools{% endif %}"
    ),
    "namespace": (
        "{% set ns = namespace(text='', n=0) %}{% for m in messages %}{% set ns.text = ns.text ~ m.content %}"
        "{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.text.split('</think>')[-1].lstrip('\\n') }}{{ ns.n * 2 }}"
    ),
    "format": (
        "{{ '%s of %d' | format(messages[0].role, messages | length) }} {{ '{:>8}'.format('x') }}"
        "{{ messages[0].content | replace('there', 'you') | upper }}"
        "{{ messages | map(attribute='role') | join(', ') }}"
    ),
}


@pytest.mark.parametrize("source", TOO_LARGE.values(), ids=TOO_LARGE)
def test_what_grows_too_large_is_stopped(source: str) -> None:
    with pytest.raises(TooLargeError, match=f"more than {LIMIT} characters"):
        BoundedTemplate(source, LIMIT).check(messages=MESSAGES)


@pytest.mark.parametrize("source", USUAL.values(), ids=USUAL)
def test_usual_templates_are_rendered_as_ever(source: str, tokenizer: Any) -> None:
    tokenizer.chat_template = source
    messages = [*MESSAGES, {"role": "assistant", "content": "<think>Hm</think>\nYes."}]
    expected = tokenizer.apply_chat_template(messages, tokenize=False)
    assert expected and apply_chat_template(messages, tokenizer, OneGenConfig()) == expected


def test_the_error_says_what_to_do(tokenizer: Any) -> None:
    config = OneGenConfig(chat_template='{{ "x" * 10**10 }}')
    with pytest.raises(ValueError, match="the chat template writes too much .* Set `chat_template` in the checkpoint"):
        apply_chat_template(MESSAGES, tokenizer, config)


def test_long_conversations_have_a_higher_limit(tokenizer: Any) -> None:
    long = [{"role": "user", "content": "word " * 400_000}]
    tokenizer.chat_template = USUAL["macro"]
    assert long[0]["content"] in apply_chat_template(long, tokenizer, OneGenConfig())
