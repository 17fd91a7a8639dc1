"""Measuring a run: seconds, token positions that went through a model, and the peak memory of a process."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

_PROCESS = Path("/proc/self")


class Clock:
    """Seconds since it was made, on the clock and of processor time, which other work disturbs less."""

    def __init__(self) -> None:
        self._start, self._processor_start = time.perf_counter(), time.process_time()

    def read(self) -> tuple[float, float]:
        """Both, when all that was asked of the device is done."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter() - self._start, time.process_time() - self._processor_start


@contextmanager
def counted_tokens(module: torch.nn.Module) -> Iterator[list[int]]:
    """Within, each forward of `module` adds its token positions, padding included, to the list that is yielded."""
    counts: list[int] = []

    def count(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        # A sentence encoder hands one mapping of features from module to module.
        inputs = args[0] if args else kwargs
        counts.append((inputs["input_ids"] if isinstance(inputs, Mapping) else inputs).numel())

    handle = module.register_forward_pre_hook(count, with_kwargs=True)
    try:
        yield counts
    finally:
        handle.remove()


class PeakMemory:
    """
    The most memory that this process holds from now on, in MiB: on a GPU what torch allocates there, otherwise what is
    resident, models included. `None` where the system does not tell (anything but Linux).
    """

    def __init__(self) -> None:
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        elif (_PROCESS / "clear_refs").exists():
            (_PROCESS / "clear_refs").write_text("5", encoding="ascii")

    def read(self) -> float | None:
        """The peak so far."""
        if torch.cuda.is_available():
            return torch.cuda.max_memory_allocated() / 2**20
        if not (_PROCESS / "clear_refs").exists():
            return None
        # Not getrusage: the peak that it tells of a process starts with that of its parent.
        status = (_PROCESS / "status").read_text(encoding="ascii")
        return int(status.partition("VmHWM:")[2].split()[0]) / 2**10
