"""A digest of `meta` for engines whose own comparisons of JSON are neither true nor false where a key is missing."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from ...filters.conditions import Scalar


def facts(meta: Any) -> dict[str, Any]:
    """
    What filters ask of a `meta`, so that each question has a true or false answer.

    Each value becomes an element of the list `is`. Of the numbers and the texts at each path the least and the
    greatest are kept: some value is above a bound if the greatest is.

    Args:
        meta (any JSON value)

    Returns:
        `dict`: `is` (`list[str]`), `low` and `high` (`dict`).
    """
    known: dict[str, Any] = {"is": set(), "low": {}, "high": {}}
    _collect(meta, (), known)
    return {**known, "is": sorted(known["is"])}


def _collect(value: Any, path: tuple[str, ...], known: dict[str, Any]) -> None:
    if isinstance(value, dict):
        known["is"].add(token(path))
        for name, inner in value.items():
            _collect(inner, (*path, *name.split(".")), known)
    elif isinstance(value, list):
        for element in value:
            if not isinstance(element, list):
                _collect(element, path, known)
    elif value is not None:
        known["is"].update((token(path), token(path, value)))
        if not isinstance(value, bool):
            key = bound_key(path, value)
            known["low"][key] = min(value, known["low"].get(key, value))
            known["high"][key] = max(value, known["high"].get(key, value))


def token(path: tuple[str, ...], *value: Scalar) -> str:
    """A word of letters for "this path has a value", or "it has this value": nothing to quote, whatever is in them."""
    kinds = [_exact(item) if isinstance(item, (int, float)) and not isinstance(item, bool) else item for item in value]
    return hashlib.blake2b(json.dumps([path, kinds]).encode(), digest_size=12).hexdigest()


def _exact(number: int | float) -> int | float:
    """One form for equal numbers: a float, of zeros the positive one, unless it would be another number."""
    try:
        rounded = float(number) + 0.0
    except OverflowError:
        return number
    return rounded if rounded == number else number


def bound_key(path: tuple[str, ...], value: Scalar) -> str:
    return ("t" if isinstance(value, str) else "n") + token(path)
