"""Errors as clients of OpenAI's API read them: a status, and why, in one JSON object."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from ..refusals import Refusal

logger = logging.getLogger(__name__)

TYPES = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}


class ApiError(Exception):
    """
    A request that can't be answered.

    Args:
        message (`str`)
        status (`int`, *optional*, defaults to 400)
        code (`str`, *optional*, defaults to `"invalid_request"`)
        param (`str`, *optional*): The field that is wrong.
    """

    def __init__(self, message: str, status: int = 400, code: str = "invalid_request", param: str | None = None):
        super().__init__(message)
        self.status, self.code, self.param = status, code, param


def error_body(message: str, status: int, code: str, param: str | None = None) -> dict[str, Any]:
    """The JSON object of an error."""
    kind = TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {"error": {"message": _printable(message), "type": kind, "param": param, "code": code}}


def error_response(
    message: str, status: int, code: str, param: str | None = None, retry_after: int | None = None
) -> JSONResponse:
    """The response that a client gets."""
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return JSONResponse(error_body(message, status, code, param), status, headers)


def add_error_handlers(app: FastAPI) -> None:
    """Answer every error in this one form."""

    @app.exception_handler(ApiError)
    async def api_error(_: Request, error: ApiError) -> JSONResponse:
        return error_response(str(error), error.status, error.code, error.param)

    @app.exception_handler(Refusal)
    async def refusal(_: Request, error: Refusal) -> JSONResponse:
        return error_response(str(error), error.status, error.code, retry_after=error.retry_after)

    @app.exception_handler(RequestValidationError)
    async def malformed(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"] if part != "body")
        if first["type"] == "json_invalid":
            return error_response(f"the body is no JSON: {first['msg']}", 400, "invalid_json")
        return error_response(f"{place or 'the body'}: {first['msg']}", 400, "invalid_request", place or None)

    @app.exception_handler(HTTPException)
    async def http_error(_: Request, error: HTTPException) -> JSONResponse:
        # FastAPI's own 400 is a body that it can't parse.
        codes = {400: "invalid_json", 404: "not_found", 405: "method_not_allowed"}
        code = codes.get(error.status_code, "invalid_request")
        return error_response(str(error.detail), error.status_code, code)

    @app.exception_handler(Exception)
    async def unexpected(_: Request, error: Exception) -> JSONResponse:
        logger.error("a request failed unexpectedly", exc_info=error)
        return error_response("the server failed to handle the request", 500, "internal_error")


def _printable(text: str) -> str:
    """Without halves of surrogate pairs, which no response can hold."""
    return text.encode("utf-8", "backslashreplace").decode()
