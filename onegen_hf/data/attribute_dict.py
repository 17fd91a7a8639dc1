"""`AttributeDict`: a `dict` whose items are attributes as well."""

from __future__ import annotations

from typing import Any, ClassVar


class AttributeDict(dict[str, Any]):
    """
    A `dict` whose items can be read and set as attributes: `result.answer` is `result["answer"]`. It equals the plain
    `dict` with the same items, and JSON, pickle and copies treat it as one.

    Attributes:
        DEFAULTS (`dict`): What reading a missing item as an attribute gives, by name; set by subclasses.
    """

    DEFAULTS: ClassVar[dict[str, Any]] = {}

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name] if name in self else self.DEFAULTS[name]
        except KeyError:
            raise AttributeError(
                f"{type(self).__name__} has no attribute {name!r}: its items are {', '.join(map(str, self))}"
            ) from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __delattr__(self, name: str) -> None:
        if name not in self:
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        del self[name]

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *filter(str.isidentifier, self)})

    def copy(self) -> AttributeDict:
        """A shallow copy of the same class."""
        return type(self)(self)


def with_attributes(value: Any) -> Any:
    """
    Plain data with each `dict` as an [`AttributeDict`], down to the leaves.

    Args:
        value: Of `dict`s, lists and what else JSON knows.
    """
    if isinstance(value, dict):
        return AttributeDict({key: with_attributes(item) for key, item in value.items()})
    return [with_attributes(item) for item in value] if isinstance(value, list) else value
