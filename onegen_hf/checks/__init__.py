"""Checks of what comes in from outside: types, ranges and finiteness of arguments, before any work is done."""

from .annotations import rules_by_annotation
from .arguments import Rule, check, checked, checked_fields
from .errors import LoadingError
from .paths import check_folder, path, source
from .rules import (
    choice,
    flag,
    having,
    instance,
    integer,
    json_value,
    list_of,
    mapping,
    number,
    optional,
    shown,
    subclass,
    template,
    text,
)

__all__ = [
    "LoadingError",
    "Rule",
    "check",
    "check_folder",
    "checked",
    "checked_fields",
    "choice",
    "flag",
    "having",
    "instance",
    "integer",
    "json_value",
    "list_of",
    "mapping",
    "number",
    "optional",
    "path",
    "rules_by_annotation",
    "shown",
    "source",
    "subclass",
    "template",
    "text",
]
