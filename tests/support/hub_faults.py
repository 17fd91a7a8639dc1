"""`Fault`: what a loopback Hub does wrong, and when."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Fault:
    """
    Happens to the next `times` requests that match, then no more.

    Args:
        method (`str`): `"GET"`, `"POST"`, `"PUT"`, ...
        path (`str`): Part of the path.
        status (`int`, *optional*): Answer with this status instead.
        error (`str`, *optional*): The Hub's `X-Error-Code` beside it.
        cut_after (`int`, *optional*): Close the connection after so many bytes of the body (sent, or received).
        times (`int`)
    """

    method: str
    path: str
    status: int | None = None
    error: str | None = None
    cut_after: int | None = None
    times: int = 1

    def strikes(self, method: str, path: str) -> bool:
        if self.times < 1 or method != self.method or self.path not in path:
            return False
        self.times -= 1
        return True
