"""`PassageFilter`: reads `{"lang": "en", "year": {"$gte": 2000}}`, and names what is wrong in it."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from ..checks import shown
from .conditions import ORDERINGS, AllOf, AnyOf, Comparison, Condition, Membership, Negation, Scalar

COMPARISONS = ("$eq", "$ne", *ORDERINGS, "$in", "$nin")
COMBINATIONS = ("$and", "$or", "$not")
_DEEPEST = 32
_EXAMPLE = '{"lang": "en", "year": {"$gte": 2000}}'


class PassageFilter:
    """
    Which passages a search may find, by their `meta`.

    A filter is a JSON object. Its keys are paths into `meta`, with dots between the names of nested objects, and all
    of them must hold. What stands at a key is a value that must be equal, or an object of operators, all of which must
    hold:

    | operator | holds if |
    |---|---|
    | `$eq`, `$ne` | the value is equal, or not; `null` equals a missing value |
    | `$gt`, `$gte`, `$lt`, `$lte` | the number or text is greater, ... |
    | `$in`, `$nin` | the value is one of a list, or none of it |
    | `$and`, `$or` | all of a list of filters hold, or at least one |
    | `$not` | a filter does not hold |

    Where `meta` has a list, one element that satisfies an operator is enough. Numbers are never equal to texts, and a
    negation also holds for passages that lack the key.

    Args:
        filter (`Mapping[str, Any]`)
        name (`str`, *optional*, defaults to `"filter"`): What errors call it.

    Raises:
        `TypeError` or `ValueError`: If it is no such object; names the part that is wrong.

    Example:

    ```python
    >>> PassageFilter({"lang": "en", "$or": [{"year": {"$gte": 2000}}, {"tags": "classic"}]})
    ```
    """

    def __init__(self, filter: Mapping[str, Any], name: str = "filter") -> None:
        self.condition: Condition = _filter(name, filter, 0)
        self.key = json.dumps(filter, sort_keys=True)
        """Equal for equal filters."""

    @cached_property
    def is_empty(self) -> bool:
        """Whether it holds for every passage, because it says nothing."""
        return self.condition == AllOf(())

    def matches(self, meta: Any) -> bool:
        """Whether a passage with this `meta` may be found."""
        return self.condition.matches(meta)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PassageFilter) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __repr__(self) -> str:
        return f"PassageFilter({self.key})"


def filter_rule(name: str, value: Any) -> PassageFilter | None:
    """The rule of arguments that are filters; `None` for an empty one."""
    parsed = value if isinstance(value, PassageFilter) else PassageFilter(value, name)
    return None if parsed.is_empty else parsed


def _filter(name: str, value: Any, depth: int) -> Condition:
    if not isinstance(value, Mapping):
        raise TypeError(f"{name}={shown(value)} must be an object of paths and values, such as {_EXAMPLE}")
    if depth > _DEEPEST:
        raise ValueError(f"{name}={shown(value)} is nested more than {_DEEPEST} deep: write it flatter")
    parts: list[Condition] = []
    for key, wanted in value.items():
        if not isinstance(key, str):
            raise TypeError(f"{name}: the key {shown(key)} must be a text, such as in {_EXAMPLE}")
        place = f"{name}[{key!r}]"
        if key in COMBINATIONS:
            parts.append(_combination(place, key, wanted, depth))
        elif key.startswith("$"):
            raise ValueError(f"{name}: {_unknown(key, COMBINATIONS)}, and operators such as '$gte' go below a path")
        else:
            parts.append(_comparisons(place, _path(place, key), wanted))
    return parts[0] if len(parts) == 1 else AllOf(tuple(parts))


def _combination(place: str, key: str, wanted: Any, depth: int) -> Condition:
    if key == "$not":
        return Negation(_filter(place, wanted, depth + 1))
    if not isinstance(wanted, (list, tuple)) or not wanted:
        raise TypeError(f"{place}={shown(wanted)} must be a list of filters, at least one")
    parts = tuple(_filter(f"{place}[{n}]", part, depth + 1) for n, part in enumerate(wanted))
    return AllOf(parts) if key == "$and" else AnyOf(parts)


def _path(place: str, key: str) -> tuple[str, ...]:
    names = tuple(key.split("."))
    if not all(names):
        raise ValueError(f"{place}: the path {key!r} has an empty name: write 'author.name', or 'lang'")
    _require_storable(place, key)
    return names


def _comparisons(place: str, path: tuple[str, ...], wanted: Any) -> Condition:
    if not isinstance(wanted, Mapping):
        return Comparison(path, "$eq", _scalar(place, wanted))
    if not wanted:
        raise ValueError(f"{place}={{}} says nothing: give a value, or operators such as {{'$gte': 2000}}")
    parts = tuple(_comparison(f"{place}[{key!r}]", path, key, value) for key, value in wanted.items())
    return parts[0] if len(parts) == 1 else AllOf(parts)


def _comparison(place: str, path: tuple[str, ...], key: Any, value: Any) -> Condition:
    if key not in COMPARISONS:
        raise ValueError(f"{place}: {_unknown(key, COMPARISONS)}; nested objects are reached by a path with dots")
    if key in ("$in", "$nin"):
        if not isinstance(value, (list, tuple)) or not value:
            raise TypeError(f"{place}={shown(value)} must be a list of values, at least one")
        scalars = tuple(_scalar(f"{place}[{n}]", item) for n, item in enumerate(value))
        texts = tuple(item for item in scalars if item is not None)
        parts: list[Condition] = [Membership(path, texts)] if texts else []
        if len(texts) < len(scalars):
            parts.append(Comparison(path, "$eq", None))
        within = parts[0] if len(parts) == 1 else AnyOf(tuple(parts))
        return within if key == "$in" else Negation(within)
    scalar = _scalar(place, value)
    if key in ORDERINGS and (scalar is None or isinstance(scalar, bool)):
        raise TypeError(f"{place}={shown(value)} must be a number or a text: other values have no order")
    return Negation(Comparison(path, "$eq", scalar)) if key == "$ne" else Comparison(path, key, scalar)


def _scalar(place: str, value: Any) -> Scalar:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{place}={value!r} must be finite: JSON has no such number")
    if value is not None and not isinstance(value, (str, int, float)):
        raise TypeError(
            f"{place}={shown(value)} must be a text, a number, true, false or null; for one of several write "
            f"{{'$in': [...]}}"
        )
    if isinstance(value, str):
        _require_storable(f"{place}={shown(value)}", value)
    return value


def _require_storable(place: str, text: str) -> None:
    if "\0" in text:
        raise ValueError(f"{place} holds a null character, which databases cannot store: leave it out")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError(f"{place} holds half of a surrogate pair, which no text can be stored with: leave it out")


def _unknown(key: Any, known: tuple[str, ...]) -> str:
    similar = difflib.get_close_matches(str(key), known, n=1)
    hint = f"did you mean {similar[0]!r}?" if similar else f"choose one of {', '.join(known)}"
    return f"{shown(key)} is no operator here: {hint}"
