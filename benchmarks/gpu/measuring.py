"""Time: what a run may take, and how long work on a device takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import torch

from benchmarks.report import spread


class Budget:
    """
    The time that is left.

    Args:
        seconds (`float`): From now on.
    """

    def __init__(self, seconds: float) -> None:
        self.end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds until the end; negative after it."""
        return self.end - time.monotonic()


Measurement = tuple[str, Callable[[], Any]]
"""A name, and what makes the result. Parts yield them, so that one that fails does not end the others."""


def synchronize(device: str) -> None:
    """Wait until a device has done what it was asked for."""
    if device != "cpu":
        torch.cuda.synchronize()


def timed(work: Callable[[], Any], device: str) -> float:
    """Seconds that some work takes, until the device is done."""
    synchronize(device)
    start = time.perf_counter()
    work()
    synchronize(device)
    return time.perf_counter() - start


def in_turns(
    kinds: Mapping[str, Callable[[], Any]], repeats: int, device: str, budget: Budget, warm_up: int = 1
) -> dict[str, list[float]]:
    """
    Seconds of several kinds of work, which take turns in changing order.

    Args:
        kinds (`Mapping[str, Callable]`): Name → work.
        repeats (`int`): Fewer are made where the time is up; the first one always is.
        device (`str`)
        budget ([`Budget`])
        warm_up (`int`, *optional*, defaults to 1): Further repeats at the beginning that do not count.
    """
    seconds: dict[str, list[float]] = {name: [] for name in kinds}
    names = list(kinds)
    for repeat in range(-warm_up, repeats):
        if repeat > 0 and budget.left < 0:
            break
        turn = repeat % len(names)
        for name in [*names[turn:], *names[:turn]]:
            taken = timed(kinds[name], device)
            if repeat >= 0:
                seconds[name].append(taken)
    return seconds


def ratios(seconds: Mapping[str, list[float]], name: str, other: str) -> list[float]:
    """The lowest, median and highest ratio of two kinds of work, repeat by repeat."""
    return spread([one / two for one, two in zip(seconds[name], seconds[other], strict=True)])
