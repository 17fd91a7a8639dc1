"""`ServingLimits`: how much a server takes on at a time."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..checks import checked_fields, integer, number, optional

POSITIONS_PER_ROW = 2048


@dataclass(frozen=True)
class ServingLimits:
    """
    Limits of a [`Scheduler`]. The metadata of the fields is the help of the command line.

    Raises:
        `TypeError` or `ValueError`: If a limit is out of range.
    """

    batch_size: int = field(
        default=16, metadata={"help": "Requests that are decoded together; with critique, each candidate counts."}
    )
    max_batch_tokens: int | None = field(
        default=None,
        metadata={
            "help": "Positions of keys and values for all of them, with the text that they may still write and "
            f"retrieve; default: {POSITIONS_PER_ROW} for each."
        },
    )
    max_waiting: int = field(default=256, metadata={"help": "Requests that may wait; others are refused with 503."})
    max_waiting_tokens: int = field(default=1_000_000, metadata={"help": "Tokens of their prompts."})
    max_client_requests: int = field(
        default=64, metadata={"help": "Requests of one client, waiting or running; others are refused with 429."}
    )
    max_new_tokens: int = field(default=1024, metadata={"help": "Most tokens that a request may ask for."})
    max_seconds: float = field(
        default=120.0, metadata={"help": "Seconds for a request, waiting included; it may ask for fewer."}
    )

    remembered_turns: int = field(
        default=1024,
        metadata={
            "help": "Answers whose passages are remembered for the next turn of a chat, for clients that send back "
            "only text; 0 remembers none."
        },
    )

    def __post_init__(self) -> None:
        checked_fields(
            self,
            batch_size=integer(least=1),
            max_batch_tokens=optional(integer(least=1)),
            max_waiting=integer(least=1),
            max_waiting_tokens=integer(least=1),
            max_client_requests=integer(least=1),
            max_new_tokens=integer(least=1),
            max_seconds=number(above=0),
            remembered_turns=integer(least=0),
        )

    @property
    def positions(self) -> int:
        """`max_batch_tokens`, or its default."""
        return self.max_batch_tokens or POSITIONS_PER_ROW * self.batch_size
