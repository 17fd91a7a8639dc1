"""`Services`: what the routes of the server call."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from fastapi import Request

from ..embedding import Embedder
from ..metrics import ServingMetrics
from ..own_thread import in_own_thread
from ..refusals import Overloaded
from ..remembered_turns import RememberedTurns
from ..scheduler import Scheduler
from .errors import ApiError

Result = TypeVar("Result")
MOST_CALLS = 32
"""Calls beside decoding, such as embeddings, that may wait."""


@dataclass
class Services:
    """
    Everything that is loaded once, when the server starts.

    Args:
        scheduler ([`Scheduler`])
        metrics ([`ServingMetrics`])
        model_name (`str`): What clients call the model.
        embedder ([`Embedder`], *optional*)
        linker ([`OneGenEntityLinkingPipeline`], *optional*)
        linker_name (`str`, *optional*)
        turns ([`RememberedTurns`]): Of as many turns as the limits of the scheduler say.
        created (`int`): Of the models, in seconds since the epoch.
    """

    scheduler: Scheduler
    metrics: ServingMetrics
    model_name: str
    embedder: Embedder | None = None
    linker: Any = None
    linker_name: str | None = None
    turns: RememberedTurns = field(init=False, repr=False)
    created: int = field(default_factory=lambda: int(time.time()))
    _executor: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1), repr=False)
    _calls: int = 0

    def __post_init__(self) -> None:
        self.turns = RememberedTurns(self.scheduler.limits.remembered_turns)

    def require_model(self, name: str | None, linking: bool = False) -> None:
        """
        Raises:
            [`ApiError`]: If a request names a model that is not this server's.
        """
        served = self.linker_name if linking else self.model_name
        if name is not None and name != served:
            raise ApiError(f"model={name!r} is not offered here: {served!r} is", 404, "model_not_found", "model")

    async def alone(self, function: Callable[[], Result]) -> Result:
        """
        Call a function in another thread, one such call at a time: they share the processor with decoding.

        Raises:
            [`Overloaded`]: If many wait already.
        """
        if self._calls >= MOST_CALLS:
            raise Overloaded(f"{self._calls} requests are waiting already", retry_after=1)
        self._calls += 1  # all on the event loop's thread
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, in_own_thread, function)
        finally:
            self._calls -= 1


def services_of(request: Request) -> Services:
    """A dependency of routes."""
    services: Services = request.app.state.services
    return services
