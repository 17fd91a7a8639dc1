"""`Ticket`: a request that a scheduler has accepted, and the times of its phases."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from ..generation.events import StreamEvent
from ..pipelines.row_events import RowEvents
from .engines.base import Job
from .refusals import Refusal

Delivery = StreamEvent | Refusal
"""What a client receives: events up to [`DoneEvent`], or a refusal, after which nothing comes."""


@dataclass(eq=False)
class Ticket:
    """
    A request from its acceptance to its end.

    Attributes:
        job ([`Job`])
        deliver (`Callable`): Receives what happens, in the scheduler's thread; must not block.
        events ([`RowEvents`])
        deadline (`float`): In the time of `time.monotonic`, as all of the following.
        submitted (`float`)
        started (`float`, *optional*): When decoding began.
        first_token (`float`, *optional*)
        ended (`float`, *optional*)
        cancelled (`bool`): Whether nobody waits for the answer any more.
    """

    job: Job
    deliver: Callable[[Delivery], None]
    events: RowEvents = field(repr=False)
    deadline: float
    submitted: float = field(default_factory=time.monotonic)
    started: float | None = None
    first_token: float | None = None
    ended: float | None = None
    cancelled: bool = False

    def take(self) -> Iterator[StreamEvent]:
        """What has happened since the last call."""
        self.events.row = self.job.row  # critique chooses it at the end
        return self.events.take()

    @property
    def client(self) -> str:
        """Whose request it is."""
        return self.job.request.client

    @property
    def prompt_tokens(self) -> int:
        """Of the question."""
        return self.job.row.usage.prompt_tokens
