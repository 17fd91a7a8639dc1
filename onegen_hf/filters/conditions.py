"""What a filter says, as a tree; and whether a `meta` satisfies it."""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

Scalar = str | int | float | bool | None
ORDERINGS: dict[str, Callable[[Any, Any], bool]] = {
    "$lt": operator.lt,
    "$lte": operator.le,
    "$gt": operator.gt,
    "$gte": operator.ge,
}


class Condition(ABC):
    """A node of the tree."""

    @abstractmethod
    def matches(self, meta: Any) -> bool:
        """
        Whether a passage with this `meta` is wanted.

        Args:
            meta (any JSON value)
        """


@dataclass(frozen=True)
class Comparison(Condition):
    """
    Compares what stands at a path with a value.

    Numbers compare with numbers and texts with texts, by code points; anything else is unequal and in no order. Of a
    list it is enough that one element satisfies the comparison. `None` equals a value that is missing.

    Args:
        path (`tuple[str, ...]`): Keys from the outside in.
        operator (`str`): `"$eq"`, or one of [`ORDERINGS`].
        value (`str`, `int`, `float`, `bool` or `None`)
    """

    path: tuple[str, ...]
    operator: str
    value: Scalar

    def matches(self, meta: Any) -> bool:
        values = values_at(meta, self.path)
        if self.value is None:
            return all(value is None for value in values)
        if self.operator == "$eq":
            return any(same_kind(value, self.value) and value == self.value for value in values)
        holds = ORDERINGS[self.operator]
        return any(same_kind(value, self.value) and holds(value, self.value) for value in values)


@dataclass(frozen=True)
class Membership(Condition):
    """
    What stands at a path is one of several values; of a list, one of its elements is.

    Args:
        path (`tuple[str, ...]`)
        values (`tuple`): At least one, and no `None`.
    """

    path: tuple[str, ...]
    values: tuple[Scalar, ...]

    def matches(self, meta: Any) -> bool:
        return any(Comparison(self.path, "$eq", value).matches(meta) for value in self.values)


@dataclass(frozen=True)
class AllOf(Condition):
    """Every part holds."""

    parts: tuple[Condition, ...]

    def matches(self, meta: Any) -> bool:
        return all(part.matches(meta) for part in self.parts)


@dataclass(frozen=True)
class AnyOf(Condition):
    """At least one part holds."""

    parts: tuple[Condition, ...]

    def matches(self, meta: Any) -> bool:
        return any(part.matches(meta) for part in self.parts)


@dataclass(frozen=True)
class Negation(Condition):
    """The part does not hold; so it is also true of a passage that lacks what the part speaks of."""

    part: Condition

    def matches(self, meta: Any) -> bool:
        return not self.part.matches(meta)


def values_at(meta: Any, path: tuple[str, ...]) -> Iterator[Any]:
    """The values at a path, through the elements of lists; nothing where a key is missing."""
    if isinstance(meta, list):
        for element in meta:
            # A list within a list is a value of its own, as JSON paths have it.
            if path or not isinstance(element, list):
                yield from values_at(element, path)
    elif not path:
        yield meta
    elif isinstance(meta, dict) and path[0] in meta:
        yield from values_at(meta[path[0]], path[1:])


def same_kind(value: Any, other: Any) -> bool:
    """Whether two values can be equal or in order: both texts, both numbers, or both truth values."""
    return _kind(value) is _kind(other)


def _kind(value: Any) -> type | None:
    if isinstance(value, bool):
        return bool
    if isinstance(value, (int, float)):
        return float
    return str if isinstance(value, str) else None
