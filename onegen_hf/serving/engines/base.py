"""`ServingEngine`: decodes the requests that a [`Scheduler`] gives it, which join and leave at any step."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from ...generation import RowState
from ...pipelines.describe import RowDescriber
from ..request import GenerationRequest


@dataclass(eq=False)
class Job:
    """
    A request as an engine decodes it.

    Attributes:
        request ([`GenerationRequest`])
        row ([`RowState`]): Grows while it is decoded; its `stop_reason` is set at the end. With critique, the chosen
            row takes its place at the end, and before that it stays as it was.
        question (`str`): The query of a retrieval before which the model wrote nothing.
        positions (`int`): Most positions of keys and values that a row may ever take.
        rows (`int`): Most rows that are decoded for it at a time.
        error (`Exception`, *optional*): Why it failed.
        state (`Any`): The engine's own.
    """

    request: GenerationRequest
    row: RowState
    question: str
    positions: int
    rows: int = 1
    error: Exception | None = None
    state: Any = field(default=None, repr=False)

    @property
    def ended(self) -> bool:
        """Whether nothing more will be decoded."""
        return self.error is not None or self.row.stop_reason is not None


class ServingEngine(Protocol):
    """
    Decodes jobs side by side. All methods but `prepare` are called by the scheduler's thread alone.

    Attributes:
        describer ([`RowDescriber`]): Reads rows as text.
        model_name (`str`): What clients call the model.
        context (`int`, *optional*): Positions of the model's context.
    """

    describer: RowDescriber
    model_name: str
    context: int | None

    def prepare(self, request: GenerationRequest) -> Job:
        """
        Check and tokenize a request, in any thread.

        Raises:
            `TypeError` or `ValueError`: If it can't be answered, whatever else runs.
        """

    def has_room(self, job: Job) -> bool:
        """Whether a job can join what runs without ever lacking room for keys and values."""

    def join(self, job: Job) -> None:
        """Start to decode a job."""

    def leave(self, job: Job) -> None:
        """Stop a job before its end."""

    def step(self) -> None:
        """Go on until there is something new in at least one row, or a short while has passed."""

    def reset(self) -> None:
        """Drop all jobs, after [`~ServingEngine.step`] has failed."""

    def close(self) -> None:
        """Free what the engine holds."""
