"""`Scheduler`: many requests, one engine; a thread that lets them take turns and tells each what happens to it."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Protocol

from ..generation.events import DoneEvent
from ..pipelines.row_events import RowEvents
from .engines.base import ServingEngine
from .fair_queue import FairQueue
from .limits import ServingLimits
from .refusals import (
    Cancelled,
    DeadlineExceeded,
    EngineFailed,
    Overloaded,
    Refusal,
    ShuttingDown,
    TooManyRequests,
)
from .request import GenerationRequest
from .ticket import Delivery, Ticket

logger = logging.getLogger(__name__)

REMEMBERED = 64
"""Requests whose durations tell how long the next ones will wait."""
LONGEST_RETRY = 60


class Observer(Protocol):
    """Is told how each request ends, for metrics."""

    def ended(self, ticket: Ticket, outcome: str) -> None:
        """`outcome` is `"ok"`, or the code of a [`Refusal`]."""


class Scheduler:
    """
    Decodes requests side by side. They join and leave the running batch at every step; clients take turns; whatever
    would take too much is refused at once, with the time after which to try again.

    Args:
        engine ([`ServingEngine`])
        limits ([`ServingLimits`], *optional*)
        observer ([`Observer`], *optional*)

    Example:

    ```python
    >>> scheduler = Scheduler(engine)
    >>> scheduler.start()
    >>> ticket = scheduler.submit(GenerationRequest("Who made Tin Boat?"), print)
    >>> scheduler.close()
    ```
    """

    def __init__(
        self, engine: ServingEngine, limits: ServingLimits | None = None, observer: Observer | None = None
    ) -> None:
        self.engine = engine
        self.limits = limits or ServingLimits()
        self.observer = observer
        self._changed = threading.Condition()
        self._queue: FairQueue[Ticket] = FairQueue()
        self._running: list[Ticket] = []
        self._seconds: deque[float] = deque(maxlen=REMEMBERED)
        self._draining = self._closed = False
        self._thread = threading.Thread(target=self._work, name="onegen-scheduler", daemon=True)

    def start(self) -> None:
        """Begin to decode."""
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Number of requests that wait."""
        return len(self._queue)

    @property
    def running(self) -> int:
        """Number of requests that are decoded now."""
        return len(self._running)

    @property
    def healthy(self) -> bool:
        """Whether requests are taken and decoded."""
        return self._thread.is_alive() and not self._draining

    def submit(self, request: GenerationRequest, deliver: Callable[[Delivery], None]) -> Ticket:
        """
        Accept a request, or refuse it at once.

        Args:
            request ([`GenerationRequest`])
            deliver (`Callable`): Receives events, or a [`Refusal`]; in the scheduler's thread.

        Raises:
            `TypeError` or `ValueError`: If the request can't be answered.
            [`Refusal`]: If it can't be answered now.
        """
        if request.max_new_tokens > self.limits.max_new_tokens:
            raise ValueError(
                f"max_new_tokens={request.max_new_tokens} must be at most {self.limits.max_new_tokens} on this server"
            )
        self._check_room(request.client, 0)  # before any text is tokenized
        job = self.engine.prepare(request)
        seconds = min(request.timeout or math.inf, self.limits.max_seconds)
        describer = self.engine.describer.with_answer_threshold(request.answer_threshold)
        events = RowEvents(describer, job.row, job.question)
        ticket = Ticket(job, deliver, events, time.monotonic() + seconds)
        with self._changed:
            self._check_room(request.client, ticket.prompt_tokens)
            self._queue.push(ticket.client, ticket)
            self._changed.notify_all()
        return ticket

    def cancel(self, ticket: Ticket) -> None:
        """Stop a request whose client has gone away, at the next step; one that has ended stays as it is."""
        with self._changed:
            ticket.cancelled = True
            self._changed.notify_all()

    def drain(self) -> None:
        """Refuse what waits and what comes; what runs is finished."""
        with self._changed:
            self._draining = True
            self._changed.notify_all()

    def close(self, timeout: float | None = None) -> None:
        """
        [`~Scheduler.drain`], wait for what runs, and end.

        Args:
            timeout (`float`, *optional*): Seconds to wait; afterwards what still runs is refused.
        """
        self.drain()
        with self._changed:
            if self._thread.is_alive():
                self._changed.wait_for(lambda: not self._running and not len(self._queue), timeout)
            self._closed = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join()

    def _check_room(self, client: str, tokens: int) -> None:
        with self._changed:
            if self._draining:
                raise ShuttingDown("the server is shutting down: try again", self._retry_after())
            running = sum(ticket.client == client for ticket in self._running)
            if running + self._queue.count(client) >= self.limits.max_client_requests:
                raise TooManyRequests(
                    f"this client has {self.limits.max_client_requests} requests at a time, as many as it may have",
                    self._retry_after(),
                )
            if len(self._queue) >= self.limits.max_waiting:
                raise Overloaded(f"{len(self._queue)} requests are waiting already", self._retry_after())
            waiting = sum(ticket.prompt_tokens for ticket in self._queue.items())
            if waiting and waiting + tokens > self.limits.max_waiting_tokens:
                raise Overloaded(f"requests of {waiting} tokens are waiting already", self._retry_after())

    def _retry_after(self) -> int:
        """Seconds until what waits now will have been answered, as far as the last requests tell."""
        mean = sum(self._seconds) / len(self._seconds) if self._seconds else 1.0
        rounds = 1 + len(self._queue) / self.limits.batch_size
        return max(1, min(math.ceil(mean * rounds), LONGEST_RETRY))

    def _work(self) -> None:
        while self._next_round():
            try:
                self.engine.step()
            except Exception as error:
                logger.exception("a step failed: all requests that ran have failed with it")
                for ticket in self._running:
                    ticket.job.error = error
            self._tell()
        self.engine.close()

    def _next_round(self) -> bool:
        """Let requests leave and join, and wait until there is one to decode; `False` at the end."""
        with self._changed:
            while True:
                self._drop(time.monotonic())
                self._admit()
                if self._closed:
                    for ticket in list(self._running):
                        self._end(ticket, ShuttingDown("the server has shut down before the end of the answer"))
                    return False
                if self._running:
                    return True
                self._changed.notify_all()
                deadlines = [ticket.deadline for ticket in self._queue.items()]
                self._changed.wait(max(0.0, min(deadlines) - time.monotonic()) if deadlines else None)

    def _drop(self, now: float) -> None:
        """Let go of requests that nobody waits for, that are late, or that a shutdown leaves out."""
        refusals: dict[Ticket, Refusal] = {}
        for ticket in self._queue.items():
            if ticket.cancelled:
                refusals[ticket] = Cancelled("the client has gone away")
            elif self._draining:
                refusals[ticket] = ShuttingDown("the server is shutting down: try again", self._retry_after())
            elif now >= ticket.deadline:
                refusals[ticket] = Overloaded("the request has waited until its deadline", self._retry_after())
        if refusals:
            self._queue.take(set(refusals))
        for ticket in self._running:
            if ticket.cancelled:
                refusals[ticket] = Cancelled("the client has gone away")
            elif now >= ticket.deadline:
                refusals[ticket] = DeadlineExceeded(
                    f"the answer was not finished after {now - ticket.submitted:.1f} seconds: ask for fewer tokens, "
                    "or for more time"
                )
        for ticket, refusal in refusals.items():
            self._end(ticket, refusal)

    def _admit(self) -> None:
        """Let waiting requests join, in the order of their turns, as far as there is room."""
        while len(self._queue):
            running = Counter(ticket.client for ticket in self._running)
            ticket = self._queue.peek(running)
            if not self.engine.has_room(ticket.job):
                return
            self._queue.pop(running)
            ticket.started = time.monotonic()
            self._running.append(ticket)
            try:
                self.engine.join(ticket.job)
            except Exception as error:
                logger.exception("a request could not be started")
                ticket.job.error = error

    def _tell(self) -> None:
        """Deliver what the last step brought."""
        now, failed = time.monotonic(), False
        for ticket in list(self._running):
            job = ticket.job
            if ticket.first_token is None and job.row.usage.generated_tokens:
                ticket.first_token = now
            if job.error is not None:
                failed = True
                logger.error("a request failed", exc_info=job.error)
                self._end(ticket, EngineFailed(f"decoding failed: {type(job.error).__name__}"))
                continue
            for event in ticket.take():
                if isinstance(event, DoneEvent):
                    self._end(ticket, event)
                else:
                    self._deliver(ticket, event)
        if failed and not self._running:
            self.engine.reset()

    def _end(self, ticket: Ticket, last: Delivery) -> None:
        """Deliver the last of a request, and forget it."""
        ticket.ended = time.monotonic()
        if ticket in self._running:
            with self._changed:
                self._running.remove(ticket)
                self._changed.notify_all()
            self.engine.leave(ticket.job)
        if isinstance(last, DoneEvent):
            self._seconds.append(ticket.ended - ticket.submitted)
        if self.observer is not None:
            self.observer.ended(ticket, last.code if isinstance(last, Refusal) else "ok")
        self._deliver(ticket, last)

    @staticmethod
    def _deliver(ticket: Ticket, what: Delivery) -> None:
        try:
            ticket.deliver(what)
        except Exception:  # such as an event loop that has ended; it must not end the scheduler
            logger.debug("nobody takes what is delivered", exc_info=True)
