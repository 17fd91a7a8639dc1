"""`ServingMetrics`: what a server counts, in the format of Prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from ..generation.critique import CritiqueRow
from .ticket import Ticket

if TYPE_CHECKING:
    from .scheduler import Scheduler

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
HOPS = (0, 1, 2, 3, 4, 5, 8, 12, 20)
KINDS = ("prompt", "generated", "retrieved", "forwarded")


class ServingMetrics:
    """Counts requests by outcome, tokens by kind, hops, candidates, and seconds by phase."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        # Not the global registry: a process may hold several servers, as tests do.
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "onegen_requests", "Requests by outcome.", ["endpoint", "outcome"], registry=self._registry
        )
        self._tokens = Counter("onegen_tokens", "Tokens by kind.", ["kind"], registry=self._registry)
        self._hops = Histogram("onegen_hops", "Retrievals per answer.", buckets=HOPS, registry=self._registry)
        self._candidates = Counter("onegen_candidates", "Candidates that critique weighed.", registry=self._registry)
        self._seconds = Histogram(
            "onegen_phase_seconds",
            "Seconds per request: waiting, until the first token after that, decoding, and in total.",
            ["phase"],
            buckets=SECONDS,
            registry=self._registry,
        )
        self._waiting = Gauge("onegen_waiting_requests", "Requests that wait.", registry=self._registry)
        self._running = Gauge("onegen_running_requests", "Requests that are decoded.", registry=self._registry)

    def watch(self, scheduler: Scheduler) -> None:
        """Show how many requests wait and run."""
        self._waiting.set_function(lambda: scheduler.waiting)
        self._running.set_function(lambda: scheduler.running)

    def count(self, endpoint: str, outcome: str) -> None:
        """One request has been answered, or refused."""
        self._requests.labels(endpoint, outcome).inc()

    def ended(self, ticket: Ticket, outcome: str) -> None:
        """Called by the scheduler."""
        row = ticket.job.row
        for kind in KINDS:
            self._tokens.labels(kind).inc(getattr(row.usage, f"{kind}_tokens"))
        if isinstance(row, CritiqueRow):
            self._candidates.inc(len(row.candidates))
        if outcome == "ok":
            self._hops.observe(len(row.retrievals))
        assert ticket.ended is not None
        self._seconds.labels("total").observe(ticket.ended - ticket.submitted)
        if ticket.started is not None:
            self._seconds.labels("waiting").observe(ticket.started - ticket.submitted)
            self._seconds.labels("decoding").observe(ticket.ended - ticket.started)
            if ticket.first_token is not None:
                self._seconds.labels("first_token").observe(ticket.first_token - ticket.started)

    def text(self) -> bytes:
        """Everything, as Prometheus reads it."""
        return generate_latest(self._registry)
