"""`serve`: runs the application under uvicorn until a signal ends it."""

from __future__ import annotations

from typing import Any

import uvicorn

from .scheduler import Scheduler

MOST_CONNECTIONS = 1024


class Server(uvicorn.Server):
    """
    A uvicorn server whose scheduler learns of a signal at once: waiting requests are refused, running ones finished.

    Args:
        config (`uvicorn.Config`)
        scheduler ([`Scheduler`])
    """

    def __init__(self, config: uvicorn.Config, scheduler: Scheduler) -> None:
        super().__init__(config)
        self.scheduler = scheduler

    async def shutdown(self, sockets: Any = None) -> None:
        """Called a moment after the signal."""
        self.scheduler.drain()
        await super().shutdown(sockets)


def serve(app: Any, scheduler: Scheduler, host: str, port: int, shutdown_seconds: float | None = None) -> None:
    """
    Serve until SIGTERM or SIGINT; a second SIGINT ends at once.

    Args:
        app (`FastAPI`)
        scheduler ([`Scheduler`])
        host (`str`)
        port (`int`): 0 takes a free one.
        shutdown_seconds (`float`, *optional*): How long running requests are waited for.
    """
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_level="info",
        limit_concurrency=MOST_CONNECTIONS,
        timeout_graceful_shutdown=None if shutdown_seconds is None else max(1, round(shutdown_seconds)),
    )
    Server(config, scheduler).run()
