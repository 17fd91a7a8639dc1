"""Arguments of functions and fields of dataclasses, held to rules in one place."""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

Rule = Callable[[str, Any], Any]
"""Takes the name of an argument and its value, returns the value, and raises `TypeError` or `ValueError`."""
Function = TypeVar("Function", bound=Callable[..., Any])


def check(values: Mapping[str, Any], rules: Mapping[str, Rule]) -> dict[str, Any]:
    """
    Hold named values to rules.

    Args:
        values (`Mapping[str, Any]`): What has no rule is returned as it is.
        rules (`Mapping[str, Rule]`): By name; a rule without a value is not asked.

    Returns:
        `dict[str, Any]`: The values, as the rules return them.

    Raises:
        `TypeError` or `ValueError`: Names the argument, its value and what it must be.
    """
    return {name: rules[name](name, value) if name in rules else value for name, value in values.items()}


def checked(**rules: Rule) -> Callable[[Function], Function]:
    """
    Let a function check its arguments before it runs.

    Args:
        rules (`Rule`): By the name of the argument. Defaults are taken to be right.

    Example:

    ```python
    >>> @checked(k=integer(least=1))
    ... def search(query, k=1): ...
    >>> search("Who?", k="2")
    TypeError: k='2' must be an integer: leave out the quotes
    ```
    """

    def decorate(function: Function) -> Function:
        signature = inspect.signature(function)
        unknown = sorted(set(rules) - set(signature.parameters))
        if unknown:
            raise ValueError(f"{function.__qualname__} has no arguments {unknown}")

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            try:
                bound = signature.bind(*args, **kwargs)
            except TypeError as error:
                similar = [
                    difflib.get_close_matches(name, signature.parameters, n=1)
                    for name in kwargs
                    if name not in signature.parameters
                ]
                hint = f": did you mean {similar[0][0]!r}?" if similar and similar[0] else ""
                raise TypeError(f"{function.__qualname__}() {error}{hint}") from None
            for name, value in bound.arguments.items():
                if name in rules:
                    bound.arguments[name] = rules[name](name, value)
            return function(*bound.args, **bound.kwargs)

        return call  # type: ignore[return-value]

    return decorate


def checked_fields(instance: Any, **rules: Rule) -> None:
    """
    Hold the fields of an object to rules, and set them to what the rules return; for `__post_init__`.

    Args:
        instance: Such as a dataclass, frozen or not.
        rules (`Rule`): By the name of the field.
    """
    for name, rule in rules.items():
        object.__setattr__(instance, name, rule(name, getattr(instance, name)))
