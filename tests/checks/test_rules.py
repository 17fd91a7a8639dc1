"""Rules for arguments: what they let pass, and what they say of the rest."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from onegen_hf.checks import (
    check,
    checked,
    checked_fields,
    choice,
    flag,
    having,
    instance,
    integer,
    json_value,
    list_of,
    number,
    optional,
    subclass,
    template,
    text,
)


@pytest.mark.parametrize(
    ("rule", "value", "expected"),
    [
        (integer(1), 1, 1),
        (integer(1), np.int64(7), 7),
        (integer(), torch.tensor(3), 3),
        (integer(0, 5), 5, 5),
        (number(), 2, 2.0),
        (number(above=0), np.float32(0.5), 0.5),
        (number(0, 1), 1, 1.0),
        (flag(), True, True),
        (choice(["a", None, 1]), None, None),
        (choice(["a", None, 1]), 1, 1),
        (text(), "é", "é"),
        (text(empty=True), "", ""),
        (template(["title", "text"], "text"), "{title}: {text} {{}}", "{title}: {text} {{}}"),
        (instance(list, tuple), (), ()),
        (list_of(integer(1)), [2, 2], [2, 2]),
        (list_of(integer(1), distinct=True), (3, 2), [3, 2]),
        (list_of(integer(1), empty=True), [], []),
        (optional(integer(1)), None, None),
        (json_value(), {"a": (1, None), 2: [True, 1.5, "é"]}, {"a": [1, None], "2": [True, 1.5, "é"]}),
    ],
)
def test_what_passes(rule: Any, value: Any, expected: Any) -> None:
    found = rule("x", value)
    assert found == expected and type(found) is type(expected)


@pytest.mark.parametrize(
    ("rule", "value", "error", "message"),
    [
        (integer(1), 0, ValueError, r"x=0 must be at least 1$"),
        (integer(1), "2", TypeError, r"x='2' must be an integer: leave out the quotes"),
        (integer(1), 1.5, TypeError, r"x=1.5 must be an integer"),
        (integer(1), math.nan, TypeError, r"x=nan must be an integer"),
        (integer(0, 5), 6, ValueError, r"x=6 must be from 0 to 5"),
        (integer(), True, TypeError, r"x=True must be an integer"),
        (integer(), None, TypeError, r"x=None must be an integer"),
        (number(), math.nan, ValueError, r"x=nan must be a finite number"),
        (number(above=0), math.inf, ValueError, r"x=inf must be a finite number"),
        (number(above=0), 0, ValueError, r"x=0 must be above 0"),
        (number(above=0, below=1), 1, ValueError, r"x=1 must be above 0 and below 1"),
        (number(), "0.5", TypeError, r"x='0.5' must be a number: leave out the quotes"),
        (number(), [1], TypeError, r"x=\[1\] must be a number"),
        (number(), False, TypeError, r"x=False must be a number"),
        (flag(), 1, TypeError, r"x=1 must be True or False"),
        (choice(["a", "b"]), "c", ValueError, r"x='c' is unknown: choose one of 'a', 'b'"),
        (choice([1]), True, ValueError, r"x=True is unknown"),
        (text(), "  ", ValueError, r"x='  ' is empty"),
        (text(), 5, TypeError, r"x=5 must be text \(a str\), got int"),
        (text(), "a\ud800b", ValueError, r"x holds half of a surrogate pair at position 1 .*decode its source"),
        (template(["text"], "text"), "{x}{text}", ValueError, r"x='\{x\}\{text\}' has the field \{x\}"),
        (template(["text"], "text"), "{text:>99999}", ValueError, r"unknown or more than a name: use \{text\}"),
        (template(["text"], "text"), "{text!r}", ValueError, r"more than a name"),
        (template(["text"], "text"), "{text.__class__}", ValueError, r"has the field"),
        (template(["text"], "text"), "{", ValueError, r"is no template .*use \{text\}"),
        (template(["text"], "text"), "none", ValueError, r"must contain \{text\}"),
        (list_of(integer(1), distinct=True), [3, 2, 3], ValueError, r"x=\[3, 2, 3\] holds 3 more than once"),
        (list_of(integer(1)), [3, 0], ValueError, r"x\[1\]=0 must be at least 1"),
        (list_of(integer(1)), [], ValueError, r"x=\[\] is empty"),
        (instance(dict), [], TypeError, r"x=\[\] must be a dict, got list"),
        (optional(integer(1)), 0, ValueError, r"x=0"),
        (json_value(), {"a": {1}}, TypeError, r"x=\{'a': \{1\}\} is no JSON .*: give texts"),
        (json_value(), [math.nan], ValueError, r"x=\[nan\] is no JSON"),
        (json_value(), "a\ud800", ValueError, r"surrogate"),
    ],
)
def test_what_is_refused(rule: Any, value: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        rule("x", value)


def test_a_function_checks_its_arguments() -> None:
    @checked(k=integer(1), scale=number(above=0))
    def search(query: str, k: int = 1, *, scale: float = 1.0) -> tuple[str, int, float]:
        """Doc."""
        return query, k, scale

    assert search("q", np.int64(2)) == ("q", 2, 1.0) and search.__doc__ == "Doc."
    with pytest.raises(TypeError, match="k='2'"):
        search("q", "2")
    with pytest.raises(ValueError, match="scale=nan"):
        search("q", scale=math.nan)
    with pytest.raises(TypeError, match="missing a required argument"):
        search()


def test_a_rule_for_no_argument_is_a_mistake() -> None:
    with pytest.raises(ValueError, match=r"has no arguments \['m'\]"):
        checked(m=integer())(lambda k: k)


def test_fields_of_a_dataclass() -> None:
    @dataclass(frozen=True)
    class Settings:
        k: Any

        def __post_init__(self) -> None:
            checked_fields(self, k=integer(1))

    assert type(Settings(np.int64(3)).k) is int
    with pytest.raises(ValueError, match="k=0"):
        Settings(0)


def test_named_values() -> None:
    assert check({"k": 2, "other": "x"}, {"k": integer(), "absent": flag()}) == {"k": 2, "other": "x"}


def test_an_object_with_methods() -> None:
    rule = having("append", "pop", remedy="a list")
    assert rule("x", [1]) == [1]
    with pytest.raises(TypeError, match=r"x=\(1,\) has no append and no pop: pass a list"):
        rule("x", (1,))
    with pytest.raises(TypeError, match="x=<class 'list'> is a class: pass a list"):
        rule("x", list)


def test_a_subclass() -> None:
    assert subclass(int)("x", bool) is bool
    for value in (5, str):
        with pytest.raises(TypeError, match="x=.* must be int or a subclass of it"):
            subclass(int)("x", value)


def test_a_misspelt_argument_is_answered_with_the_known_one() -> None:
    @checked(batch_size=integer(1))
    def encode(batch_size: int = 1) -> int:
        return batch_size

    with pytest.raises(TypeError, match=r"encode\(\) got an unexpected keyword argument 'batchsize': did you mean"):
        encode(batchsize=3)  # type: ignore[call-arg]
