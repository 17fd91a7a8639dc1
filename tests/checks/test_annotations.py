"""Rules that are read from the annotations of a dataclass."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import pytest

from onegen_hf.checks import check, rules_by_annotation


class Kind(Enum):
    """An enumeration."""

    ONE = "one"
    TWO = "two"


@dataclass
class Settings:
    """Fields of every type that has a rule, and some that have none."""

    count: int = 1
    share: float = 0.5
    flag: bool = False
    limit: int | None = None
    unset: int = None  # type: ignore[assignment]
    kind: Kind | str = "one"
    choice: str = field(default="a", metadata={"choices": ["a", "b"]})
    name: str = "anything"
    mixed: str | bool = "no"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("count", "1", "count='1' must be an integer"),
        ("count", True, "count=True must be an integer"),
        ("share", float("nan"), "share=nan must be a finite number"),
        ("flag", 1, "flag=1 must be True or False"),
        ("limit", 0.5, "limit=0.5 must be an integer"),
        ("unset", "x", "unset='x' must be an integer"),
        ("kind", "three", "kind='three' is unknown: choose one of 'one', 'two'"),
        ("choice", "c", "choice='c' is unknown: choose one of 'a', 'b'"),
    ],
)
def test_what_is_refused(name: str, value: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        check({name: value}, rules_by_annotation(Settings))


def test_what_passes() -> None:
    rules = rules_by_annotation(Settings)
    check(vars(Settings()), rules)
    check({"share": 1, "limit": 3, "kind": Kind.TWO, "name": 5, "mixed": 5}, rules)
    assert set(rules) == {"count", "share", "flag", "limit", "unset", "kind", "choice"}
