"""The one error of the builders: what is wrong, where, and what to do about it."""

from __future__ import annotations

import logging
from collections import Counter
from typing import Literal

OnError = Literal["raise", "skip"]
logger = logging.getLogger(__name__)


class RecordError(ValueError):
    """
    An input record that cannot be used.

    Args:
        reason (`str`):
            A short key, counted when records are skipped, e.g. `"missing_field"`.
        message (`str`):
            What is wrong and how to mend it.
        where (`str`, *optional*, defaults to `""`):
            File and line, put in front of the message.
    """

    def __init__(self, reason: str, message: str, where: str = "") -> None:
        super().__init__(f"{where}: {message}" if where else message)
        self.reason = reason
        self.message = message
        self.where = where

    def at(self, where: str) -> RecordError:
        """Return the same error with file and line, unless it already has them."""
        return self if self.where else RecordError(self.reason, self.message, where)


class Dropped(Exception):
    """
    A well-formed record that gives no example, such as a question without an answer. Never raised to the caller: it is
    counted, whatever the policy on errors.

    Args:
        reason (`str`):
            A short key.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class ErrorPolicy:
    """
    Raises record errors, or counts them by reason.

    Args:
        on_error (`str`, *optional*, defaults to `"raise"`):
            `"raise"` or `"skip"`.

    Raises:
        `ValueError`: If `on_error` is something else.
    """

    def __init__(self, on_error: str = "raise") -> None:
        if on_error not in ("raise", "skip"):
            raise ValueError(f'`on_error` must be "raise" or "skip", got {on_error!r}.')
        self.on_error = on_error
        self.skipped: Counter[str] = Counter()

    def handle(self, error: RecordError) -> None:
        """Raise `error`, or count it and go on."""
        if self.on_error == "raise":
            raise error
        self.skipped[error.reason] += 1
        logger.debug("skipped: %s", error)

    def drop(self, dropped: Dropped) -> None:
        """Count a record that is left out on purpose."""
        self.skipped[dropped.reason] += 1
