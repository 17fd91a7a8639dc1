"""Gives requests to the scheduler and waits for their events, as long as the client does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from fastapi import Request

from ...generation.events import DoneEvent, StreamEvent, TokenEvent
from ..refusals import Cancelled, Refusal
from ..request import GenerationRequest
from ..scheduler import Scheduler
from ..ticket import Delivery
from .errors import ApiError

Result = TypeVar("Result")


class Answering:
    """
    One request on its way through the scheduler.

    Args:
        scheduler ([`Scheduler`])
        request ([`GenerationRequest`])
    """

    def __init__(self, scheduler: Scheduler, request: GenerationRequest) -> None:
        self.scheduler = scheduler
        self.request = request
        self._deliveries: asyncio.Queue[Delivery] = asyncio.Queue()
        self._ticket: object = None

    async def submit(self) -> None:
        """
        Let it be accepted.

        Raises:
            [`ApiError`] or [`Refusal`]: If it is not.
        """
        loop = asyncio.get_running_loop()

        def deliver(what: Delivery) -> None:
            with suppress(RuntimeError):  # the event loop has ended, and with it all clients
                loop.call_soon_threadsafe(self._deliveries.put_nowait, what)

        try:
            self._ticket = await asyncio.to_thread(self.scheduler.submit, self.request, deliver)
        except (TypeError, ValueError) as error:
            raise ApiError(str(error)) from error

    async def events(self) -> AsyncGenerator[StreamEvent, None]:
        """
        What happens, up to [`DoneEvent`]. Whoever stops asking has cancelled the request.

        Raises:
            [`Refusal`]: If there will be no answer.
        """
        try:
            while True:
                what = await self._deliveries.get()
                if isinstance(what, Refusal):
                    raise what
                yield what
                if isinstance(what, DoneEvent):
                    return
        finally:
            self.cancel()

    def cancel(self) -> None:
        """Stop it, unless it has ended."""
        if self._ticket is not None:
            self.scheduler.cancel(self._ticket)  # type: ignore[arg-type]

    async def whole(self, http_request: Request) -> tuple[str, DoneEvent]:
        """
        The text that the model wrote, and the last event.

        Raises:
            [`Refusal`]: If there will be no answer, or the client has gone away.
        """
        await self.submit()
        return await self.while_wanted(self._collect(), http_request)

    async def while_wanted(self, work: Coroutine[Any, Any, Result], http_request: Request) -> Result:
        """
        Wait for something that is made of the events, and cancel the request at its end.

        Args:
            work (`Coroutine`)
            http_request (`Request`): Its client may go away meanwhile.

        Raises:
            [`Cancelled`]: If it does.
        """
        working = asyncio.ensure_future(work)
        gone = asyncio.ensure_future(disconnected(http_request))
        try:
            await asyncio.wait({working, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                raise Cancelled("the client has gone away")
            return working.result()
        finally:
            self.cancel()
            for task in (working, gone):
                task.cancel()

    async def _collect(self) -> tuple[str, DoneEvent]:
        text = ""
        async for event in self.events():
            if isinstance(event, TokenEvent):
                text += event.text
            elif isinstance(event, DoneEvent):
                return text, event
        raise AssertionError("a request ends with its last event")


async def disconnected(request: Request) -> None:
    """Returns when the client has closed the connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
