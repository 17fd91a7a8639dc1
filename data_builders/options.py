"""Checks of options by their declared types, before any source is read."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from os import PathLike, fspath
from typing import Any

_NAMES = {int: "a whole number", float: "a number", str: "text", bool: "True or False"}


def check_option(name: str, value: Any, *kinds: type, least: int | None = None) -> None:
    """
    Check the type of one option, and its lower bound.

    Args:
        name (`str`)
        value: Its value.
        kinds (`type`): `int`, `float`, `str`, `bool` or `NoneType`, one of which it must have.
        least (`int`, *optional*): The smallest value of a number.

    Raises:
        `TypeError`: If it has another type; `True` is no number.
        `ValueError`: If it is below `least`, or not finite.
    """
    fits = type(value) in kinds or (type(value) is int and float in kinds)
    if not fits:
        expected = " or ".join(_NAMES.get(kind, "None") for kind in kinds)
        raise TypeError(f"`{name}` must be {expected}, got {value!r:.100}.")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"`{name}` must be finite, got {value!r}.")
    if least is not None and value is not None and value < least:
        raise ValueError(f"`{name}` must be at least {least}, got {value!r}.")


def check_options(options: Any) -> None:
    """
    Check the fields of a dataclass whose types are `int`, `float`, `str` or `bool`, each perhaps with `None`.

    Args:
        options: An instance of a dataclass; fields of other types are not checked.

    Raises:
        `TypeError` or `ValueError`: As [`check_option`].
    """
    hints = typing.get_type_hints(type(options))
    for field in dataclasses.fields(options):
        annotation = hints[field.name]
        union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
        kinds = typing.get_args(annotation) if union else (annotation,)
        if set(kinds) <= {*_NAMES, type(None)}:
            check_option(field.name, getattr(options, field.name), *kinds)


def check_folder_name(name: str, value: str | PathLike[str]) -> None:
    """
    Raises:
        `TypeError` or `ValueError`: If an option is no path, or an empty one, which would mean the current folder.
    """
    if not isinstance(value, (str, PathLike)):
        raise TypeError(f"`{name}` must be a folder, got {value!r:.100}.")
    if not fspath(value).strip():
        raise ValueError(f"`{name}` is empty; name a folder.")
