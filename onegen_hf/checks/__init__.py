"""Checks of what comes in from outside: types, ranges and finiteness of arguments, before any work is done."""

from .arguments import Rule, check, checked, checked_fields
from .rules import (
    choice,
    flag,
    instance,
    integer,
    json_value,
    list_of,
    mapping,
    number,
    optional,
    shown,
    template,
    text,
)

__all__ = [
    "Rule",
    "check",
    "checked",
    "checked_fields",
    "choice",
    "flag",
    "instance",
    "integer",
    "json_value",
    "list_of",
    "mapping",
    "number",
    "optional",
    "shown",
    "template",
    "text",
]
