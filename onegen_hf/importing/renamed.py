"""`renamed_arguments`: a function that still takes the names that its arguments had in earlier releases."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])


def with_new_names(where: str, names: Mapping[str, str], values: Mapping[str, Any]) -> dict[str, Any]:
    """
    Named values under today's names; an old one raises a `FutureWarning`.

    Args:
        where (`str`): What takes them, for messages.
        names (`Mapping[str, str]`): Old name → new one.
        values (`Mapping[str, Any]`): By either name.

    Raises:
        `TypeError`: If a value is given under both names.
    """
    renamed = dict(values)
    for old, new in names.items():
        if old not in renamed:
            continue
        if new in renamed:
            raise TypeError(f"{where}: {old} is the old name of {new}; give {new} alone")
        warnings.warn(
            f"{where}: {old} is now called {new}; the old name goes away in 0.3", FutureWarning, stacklevel=4
        )
        renamed[new] = renamed.pop(old)
    return renamed


def renamed_arguments(**names: str) -> Callable[[Function], Function]:
    """
    Let a function take old names of its arguments too.

    Args:
        names (`str`): `old="new"`.
    """

    def decorate(function: Function) -> Function:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **with_new_names(function.__qualname__, names, kwargs))

        return call  # type: ignore[return-value]

    return decorate
