"""`rules_by_annotation`: rules for the fields of a dataclass, read from their types and metadata."""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from typing import Any

from .arguments import Rule
from .rules import choice, flag, integer, number, optional, shown


def rules_by_annotation(kind: type) -> dict[str, Rule]:
    """
    The rules of all fields whose type says what they may be: `int`, `float`, `bool`, an enumeration (or `str`), each
    perhaps with `None`, and whatever has `choices` in its metadata.

    Args:
        kind (`type`): A dataclass. A field with another type, such as `str | bool`, gets no rule.

    Returns:
        `dict[str, Rule]`: Name of the field → rule. Bounds are not known from a type; a float may be an integer and
        must be finite.
    """
    hints = typing.get_type_hints(kind)
    rules: dict[str, Rule] = {}
    for field in dataclasses.fields(kind):
        annotation = hints[field.name]
        union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
        parts = set(typing.get_args(annotation) if union else (annotation,))
        rule = _rule(field, parts - {type(None)})
        if rule is not None:
            # `None` is also what "not given" looks like in a field with a default of `None`.
            rules[field.name] = optional(rule) if type(None) in parts or field.default is None else rule
    return rules


def _rule(field: dataclasses.Field[Any], parts: set[Any]) -> Rule | None:
    simple = {bool: flag(), int: integer(), float: number()}
    enumerations = [part for part in parts if isinstance(part, type) and issubclass(part, enum.Enum)]
    if len(enumerations) == 1 and parts <= {str, enumerations[0]}:
        return member(enumerations[0])
    if parts == {str} and field.metadata.get("choices"):
        return choice(field.metadata["choices"])
    if parts == {int, float}:
        return number()
    return simple.get(next(iter(parts))) if len(parts) == 1 else None


def member(enumeration: type[enum.Enum]) -> Rule:
    """A member of an enumeration, or its value; returned as it is."""

    def rule(name: str, value: Any) -> Any:
        values = [each.value for each in enumeration]
        if not isinstance(value, enumeration) and value not in values:
            raise ValueError(f"{name}={shown(value)} is unknown: choose one of {', '.join(map(repr, values))}")
        return value

    return rule
