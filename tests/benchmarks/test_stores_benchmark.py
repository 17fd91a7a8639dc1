"""A backend that takes too long is given up, and the result says so."""

from __future__ import annotations

import signal
import time

import pytest

from benchmarks.stores import OutOfTimeError, at_most, parse, run


def test_what_takes_too_long_is_interrupted() -> None:
    before = signal.getsignal(signal.SIGALRM)
    start = time.monotonic()
    with pytest.raises(OutOfTimeError):
        with at_most(0.05 / 60):
            time.sleep(30)
    assert time.monotonic() - start < 10
    with at_most(10):
        pass
    assert signal.getsignal(signal.SIGALRM) is before and signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_the_result_says_what_was_not_run() -> None:
    options = parse(["--quick", "--backends", "faiss", "torch", "--minutes", "1e-6"])
    assert list(run(1_000, options)) == [
        {"vectors": 1_000, "backend": backend, "not_run": "given up after 0 minutes: nothing built"}
        for backend in ("faiss", "torch")
    ]
    (row,) = run(1_000, parse(["--quick", "--backends", "faiss"]))
    assert row["all"]["recall_at_1"] == 1.0 and row["bytes_per_vector"] > 0
