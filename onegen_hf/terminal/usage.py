"""Errors of usage: a command was called with arguments that it doesn't take."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class UsageError(SystemExit):
    """A command was called with arguments that it doesn't take: exit code 2. Its text is the message."""

    def __init__(self, message: str) -> None:
        super().__init__(2)
        self.message = message

    def __str__(self) -> str:
        return self.message


@contextmanager
def usage_errors() -> Iterator[None]:
    """Mark the errors of checks of arguments, so that the command ends with exit code 2 (see [`is_usage_error`])."""
    try:
        yield
    except (TypeError, ValueError, OSError) as error:
        error.is_usage_error = True  # type: ignore[union-attr]
        raise


def is_usage_error(error: BaseException) -> bool:
    """Whether an error was raised by the checks of arguments."""
    return getattr(error, "is_usage_error", False)
