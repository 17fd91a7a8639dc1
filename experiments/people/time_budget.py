"""Training for a given time: the learning rate follows the clock, and so does the end."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from transformers import TrainerCallback


class TimeBudget(TrainerCallback):
    """
    Ends a run after a given time, with a schedule that is then complete: a linear warm-up, and half a cosine to 0.

    Args:
        seconds (`float`): From the first step on.
        warmup (`float`, *optional*, defaults to 0.05): Share of the time.
        report (`Callable`, *optional*): Receives what the trainer logs, with the seconds passed and the step.
    """

    def __init__(
        self, seconds: float, warmup: float = 0.05, report: Callable[[dict[str, Any]], None] | None = None
    ) -> None:
        self.seconds, self.warmup, self.report = seconds, warmup, report
        self.start: float | None = None

    def learning_rate_factor(self, _step: int) -> float:
        """For `LambdaLR`."""
        passed = self.share_passed()
        if passed < self.warmup:
            return max(passed / self.warmup, 0.02)
        return 0.5 * (1 + math.cos(math.pi * min((passed - self.warmup) / (1 - self.warmup), 1.0)))

    def share_passed(self) -> float:
        """Of the time, from 0 to 1 and beyond."""
        return 0.0 if self.start is None else (time.monotonic() - self.start) / self.seconds

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.start is None:
            self.start = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.share_passed() >= 1.0:
            control.should_training_stop = True

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        if self.report is not None and logs:
            passed = round(self.share_passed() * self.seconds, 1)
            self.report({"step": state.global_step, "seconds": passed, **logs})
