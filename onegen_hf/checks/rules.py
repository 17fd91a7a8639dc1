"""What an argument can be held to; every rule names the argument, its value and what it must be."""

from __future__ import annotations

import json
import math
import operator
import string
from collections.abc import Iterable, Mapping
from typing import Any

from .arguments import Rule

_SHOWN_CHARACTERS = 200


def shown(value: Any) -> str:
    """The `repr` of a value for a message, cut where it gets long: a list of passages would fill the screen."""
    try:
        written = repr(value)
    except Exception as error:  # of a stranger's class: the message matters more
        return f"<{type(value).__name__} whose repr fails: {type(error).__name__}>"
    return written if len(written) <= _SHOWN_CHARACTERS else f"{written[:_SHOWN_CHARACTERS]}..."


def integer(least: int | None = None, most: int | None = None) -> Rule:
    """
    A whole number: an `int`, or what stands for one (`numpy.int64`, a 0-d integer tensor), but no `bool`.

    Args:
        least, most (`int`, *optional*): Bounds, both allowed.
    """

    def rule(name: str, value: Any) -> int:
        try:
            if isinstance(value, bool):
                raise TypeError
            whole = operator.index(value)
        except TypeError:
            raise TypeError(f"{name}={shown(value)} must be an integer{_hint(value)}") from None
        if (least is not None and whole < least) or (most is not None and whole > most):
            raise ValueError(f"{name}={shown(value)} must be {_bounds(least, most)}")
        return whole

    return rule


def number(
    least: float | None = None,
    most: float | None = None,
    above: float | None = None,
    below: float | None = None,
    infinite: bool = False,
) -> Rule:
    """
    A finite number, no `bool`.

    Args:
        least, most (`float`, *optional*): Bounds, both allowed.
        above, below (`float`, *optional*): Bounds that are not allowed themselves.
        infinite (`bool`, *optional*, defaults to `False`): Whether infinity is allowed; NaN never is.
    """

    def rule(name: str, value: Any) -> float:
        if isinstance(value, (bool, str, bytes)):
            raise TypeError(f"{name}={shown(value)} must be a number{_hint(value)}")
        try:
            real = float(value)
        except (TypeError, ValueError, RuntimeError, OverflowError):
            raise TypeError(f"{name}={shown(value)} must be a number") from None
        if math.isnan(real) or (math.isinf(real) and not infinite):
            raise ValueError(f"{name}={shown(value)} must be a {'number' if infinite else 'finite number'}")
        too_small = (least is not None and real < least) or (above is not None and real <= above)
        too_large = (most is not None and real > most) or (below is not None and real >= below)
        if too_small or too_large:
            raise ValueError(f"{name}={shown(value)} must be {_bounds(least, most, above, below)}")
        return real

    return rule


def flag() -> Rule:
    """`True` or `False`, and nothing that merely counts as one of them."""

    def rule(name: str, value: Any) -> bool:
        if value is not True and value is not False:
            raise TypeError(f"{name}={shown(value)} must be True or False")
        return bool(value)

    return rule


def choice(options: Iterable[Any]) -> Rule:
    """One of a few values."""
    allowed = tuple(options)

    def rule(name: str, value: Any) -> Any:
        # By type too: True equals 1.
        if not any(type(value) is type(option) and value == option for option in allowed):
            raise ValueError(f"{name}={shown(value)} is unknown: choose one of {', '.join(map(repr, allowed))}")
        return value

    return rule


def text(empty: bool = False) -> Rule:
    """
    A `str` that can be written as UTF-8.

    Args:
        empty (`bool`, *optional*, defaults to `False`): Whether it may be empty or blank.
    """

    def rule(name: str, value: Any) -> str:
        if not isinstance(value, str):
            raise TypeError(f"{name}={shown(value)} must be text (a str), got {type(value).__name__}")
        if not empty and not value.strip():
            raise ValueError(f"{name}={shown(value)} is empty: give some text")
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise ValueError(
                f"{name} holds half of a surrogate pair at position {error.start} ({value[error.start]!r}), which no "
                "UTF-8 text can: decode its source as UTF-8, or drop it with value.encode(errors='ignore').decode()"
            ) from None
        return value

    return rule


def template(fields: Iterable[str], needed: str) -> Rule:
    """
    A template for `str.format` with nothing but named fields.

    Args:
        fields (`Iterable[str]`): Those that are filled in.
        needed (`str`): The one that must not be missing.
    """
    known = tuple(fields)

    def rule(name: str, value: Any) -> str:
        text()(name, value)
        hint = f"use {' and '.join(f'{{{field}}}' for field in known)}, and {{{{ or }}}} for a brace"
        try:
            parts = list(string.Formatter().parse(value))
        except ValueError as error:
            raise ValueError(f"{name}={shown(value)} is no template ({error}): {hint}") from None
        for _, field, spec, conversion in parts:
            if field is None:
                continue
            # A width could ask for gigabytes, an attribute or an index for what is none of a template's business.
            if field not in known or spec or conversion:
                raise ValueError(
                    f"{name}={shown(value)} has the field {{{field}}}, unknown or more than a name: {hint}"
                )
        if needed not in (field for _, field, _, _ in parts):
            raise ValueError(f"{name}={shown(value)} must contain {{{needed}}}")
        return str(value)

    return rule


def instance(*kinds: type) -> Rule:
    """An object of one of these classes."""

    def rule(name: str, value: Any) -> Any:
        if not isinstance(value, kinds):
            wanted = " or ".join(kind.__name__ for kind in kinds)
            raise TypeError(f"{name}={shown(value)} must be a {wanted}, got {type(value).__name__}")
        return value

    return rule


def having(*methods: str, remedy: str) -> Rule:
    """
    An object with certain methods, of whatever class.

    Args:
        methods (`str`): Their names; `"__call__"` for a function.
        remedy (`str`): What to pass instead, such as `"a TextStreamer"`.
    """

    def rule(name: str, value: Any) -> Any:
        missing = [method for method in methods if not callable(getattr(value, method, None))]
        if missing or isinstance(value, type):
            lacks = "is a class" if isinstance(value, type) else f"has no {' and no '.join(missing)}"
            raise TypeError(f"{name}={shown(value)} {lacks}: pass {remedy}")
        return value

    return rule


def subclass(kind: type) -> Rule:
    """A class that is, or comes from, `kind`."""

    def rule(name: str, value: Any) -> Any:
        if not isinstance(value, type) or not issubclass(value, kind):
            raise TypeError(f"{name}={shown(value)} must be {kind.__name__} or a subclass of it")
        return value

    return rule


def mapping(empty: bool = True) -> Rule:
    """
    A mapping.

    Args:
        empty (`bool`, *optional*, defaults to `True`): Whether it may be empty.
    """

    def rule(name: str, value: Any) -> Any:
        if not isinstance(value, Mapping):
            raise TypeError(f"{name}={shown(value)} must be a mapping, such as a dict, got {type(value).__name__}")
        if not value and not empty:
            raise ValueError(f"{name}={shown(value)} is empty: give at least one item")
        return value

    return rule


def list_of(rule: Rule, empty: bool = False, distinct: bool = False) -> Rule:
    """
    A list whose items another rule allows; a single `str` counts as a list of one.

    Args:
        rule (`Rule`): For the items.
        empty (`bool`, *optional*, defaults to `False`): Whether the list may be empty.
        distinct (`bool`, *optional*, defaults to `False`): Whether an item may occur only once.
    """

    def items(name: str, value: Any) -> list[Any]:
        if isinstance(value, str):
            value = [value]
        if not isinstance(value, (list, tuple)):
            raise TypeError(f"{name}={shown(value)} must be a list, got {type(value).__name__}")
        if not value and not empty:
            raise ValueError(f"{name}={shown(value)} is empty: give at least one item")
        allowed = [rule(f"{name}[{place}]", item) for place, item in enumerate(value)]
        if distinct:
            for place, item in enumerate(allowed):
                if item in allowed[:place]:
                    raise ValueError(f"{name}={shown(value)} holds {shown(item)} more than once: leave it out")
        return allowed

    return items


def json_value() -> Rule:
    """What JSON can hold, as JSON gives it back: tuples become lists, and the keys of mappings are text."""

    def rule(name: str, value: Any) -> Any:
        remedy = "give texts, numbers, truth values, None, and lists and mappings of them"
        try:
            written = json.dumps(value, allow_nan=False, ensure_ascii=False)
            written.encode()
            return json.loads(written)
        except UnicodeEncodeError:
            raise ValueError(f"{name}={shown(value)} holds half of a surrogate pair, which is no text") from None
        except (ValueError, RecursionError) as error:  # NaN, infinity, a circle, or deep nesting
            raise ValueError(f"{name}={shown(value)} is no JSON ({error}): {remedy}") from None
        except TypeError as error:
            raise TypeError(f"{name}={shown(value)} is no JSON ({error}): {remedy}") from None

    return rule


def optional(rule: Rule) -> Rule:
    """`None`, or what another rule allows."""

    def either(name: str, value: Any) -> Any:
        return None if value is None else rule(name, value)

    return either


def _bounds(least: Any = None, most: Any = None, above: Any = None, below: Any = None) -> str:
    if least is not None and most is not None:
        return f"from {least} to {most}"
    bounds = [("at least", least), ("at most", most), ("above", above), ("below", below)]
    return " and ".join(f"{word} {bound}" for word, bound in bounds if bound is not None)


def _hint(value: Any) -> str:
    return ": leave out the quotes" if isinstance(value, str) and value.replace(".", "", 1).isdigit() else ""
