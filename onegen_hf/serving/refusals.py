"""Why a request is not answered: each reason has a name, and tells when to try again."""

from __future__ import annotations

from typing import ClassVar


class Refusal(Exception):
    """
    Base of all reasons.

    Args:
        message (`str`)
        retry_after (`int`, *optional*): Seconds after which trying again is worth while.
    """

    code: ClassVar[str]
    status: ClassVar[int]
    """The HTTP status that stands for it."""

    def __init__(self, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class TooManyRequests(Refusal):
    """One client has too many requests at a time."""

    code, status = "too_many_requests", 429


class Overloaded(Refusal):
    """Too much is waiting, or a request waited until its deadline."""

    code, status = "overloaded", 503


class ShuttingDown(Refusal):
    """The server finishes what runs and takes nothing new."""

    code, status = "shutting_down", 503


class DeadlineExceeded(Refusal):
    """The deadline came before the end of the answer."""

    code, status = "deadline_exceeded", 504


class Cancelled(Refusal):
    """The client went away."""

    code, status = "cancelled", 499


class EngineFailed(Refusal):
    """Decoding failed for reasons that the client can't change."""

    code, status = "engine_failed", 500
