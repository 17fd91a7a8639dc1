"""`create_app`: the ASGI application of a server."""

from __future__ import annotations

import importlib.metadata
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

from . import completions, retrieval, state
from .errors import add_error_handlers
from .guards import ApiKeys, BodyLimit
from .services import Services

MOST_BODY_BYTES = 1 << 20


def create_app(
    services: Services,
    api_keys: Sequence[str] = (),
    cors_origins: Sequence[str] = (),
    max_body_bytes: int = MOST_BODY_BYTES,
    shutdown_seconds: float | None = None,
) -> FastAPI:
    """
    The application; it starts the scheduler, and closes it at the end.

    Args:
        services ([`Services`])
        api_keys (`Sequence[str]`, *optional*): One of them must come with each request; by default none is needed.
        cors_origins (`Sequence[str]`, *optional*): Web pages of these origins may ask from browsers; by default none.
        max_body_bytes (`int`, *optional*, defaults to 1 MiB)
        shutdown_seconds (`float`, *optional*): How long a shutdown waits for running requests; by default to their
            end.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        services.scheduler.start()
        yield
        services.scheduler.close(shutdown_seconds)

    app = FastAPI(
        title="onegen-hf",
        version=importlib.metadata.version("onegen-hf"),
        description="One model that generates and retrieves, behind the API of OpenAI.",
        lifespan=lifespan,
    )
    app.state.services = services
    services.metrics.watch(services.scheduler)
    for routes in (completions, retrieval, state):
        app.include_router(routes.router)
    add_error_handlers(app)
    # The last one added is the first to see a request.
    app.add_middleware(BodyLimit, most=max_body_bytes)
    app.add_middleware(ApiKeys, keys=api_keys)
    if cors_origins:
        app.add_middleware(CORSMiddleware, allow_origins=list(cors_origins), allow_methods=["*"], allow_headers=["*"])
    return app
