"""What every request passes: its key is checked, and its body must not be too large."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Sequence

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .errors import error_response

KEYS_VARIABLE = "ONEGEN_API_KEYS"
OPEN_PATHS = frozenset({"/health", "/docs", "/redoc", "/openapi.json", "/docs/oauth2-redirect"})
"""Paths that need no key."""


def keys_from_environment() -> list[str]:
    """The keys that are accepted, separated by commas; none where everybody may ask."""
    return [key.strip() for key in os.environ.get(KEYS_VARIABLE, "").split(",") if key.strip()]


class ApiKeys:
    """
    Refuses requests without a key, if there are keys. What identifies a client (its key, or its address) becomes
    `scope["state"]["client"]`.

    Args:
        app (`ASGIApp`)
        keys (`Sequence[str]`)
    """

    def __init__(self, app: ASGIApp, keys: Sequence[str]) -> None:
        self.app = app
        self.keys = [key.encode() for key in keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        address = scope.get("client")
        client = address[0] if address else ""
        if self.keys:
            key = _bearer(scope)
            # All keys are compared, so that the time tells nothing about them.
            known = [hmac.compare_digest(key, other) for other in self.keys]
            if any(known):
                client = "key " + hashlib.blake2b(key, digest_size=8).hexdigest()
            elif scope["path"] not in OPEN_PATHS and scope["method"] != "OPTIONS":
                response = error_response("the API key is missing or wrong", 401, "invalid_api_key")
                await response(scope, receive, send)
                return
        scope.setdefault("state", {})["client"] = client
        await self.app(scope, receive, send)


def _bearer(scope: Scope) -> bytes:
    for name, value in scope["headers"]:
        if name == b"authorization":
            kind, _, key = value.partition(b" ")
            return bytes(key.strip()) if kind.lower() == b"bearer" else b""
    return b""


class BodyLimit:
    """
    Refuses bodies above a size, announced or not, before they are held in memory.

    Args:
        app (`ASGIApp`)
        most (`int`): Bytes.
    """

    def __init__(self, app: ASGIApp, most: int) -> None:
        self.app = app
        self.most = most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        announced = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if not announced.isdigit() or int(announced) > self.most:
            await self._refuse(scope, receive, send)
            return
        body, messages = 0, []
        while True:  # read here, so that nothing of the application has begun when the limit is passed
            message = await receive()
            messages.append(message)
            body += len(message.get("body", b""))
            if body > self.most:
                await self._refuse(scope, receive, send)
                return
            if message["type"] != "http.request" or not message.get("more_body"):
                break

        async def again() -> Message:
            return messages.pop(0) if messages else await receive()

        await self.app(scope, again, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        message = f"the body is larger than the {self.most} bytes that this server takes"
        response = error_response(message, 413, "body_too_large")
        response.headers["Connection"] = "close"  # what is left of the body is not read
        await response(scope, receive, send)
