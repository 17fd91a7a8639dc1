"""Forwards share a model's lock; who changes its configuration holds it alone."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from onegen_hf.modeling.forward_lock import ForwardLock, lock_of, running


def test_forwards_run_at_the_same_time() -> None:
    lock, barrier = ForwardLock(), threading.Barrier(3, timeout=20)

    def forward() -> None:
        with lock.shared():
            barrier.wait()

    with ThreadPoolExecutor(3) as threads:
        for done in [threads.submit(forward) for _ in range(3)]:
            done.result(timeout=20)


def test_nobody_runs_beside_one_that_is_alone() -> None:
    lock, inside = ForwardLock(), [0, 0]
    seen: list[tuple[int, int]] = []

    def forward() -> None:
        for _ in range(40):
            with lock.shared():
                inside[0] += 1
                seen.append((inside[0], inside[1]))
                time.sleep(0.0005)
                inside[0] -= 1

    def change() -> None:
        for _ in range(40):
            with lock.alone():
                inside[1] += 1
                with lock.shared():  # its own forward
                    seen.append((inside[0], inside[1]))
                    time.sleep(0.0005)
                inside[1] -= 1

    with ThreadPoolExecutor(4) as threads:
        for done in [threads.submit(one) for one in (forward, change, forward, change)]:
            done.result(timeout=60)
    assert len(seen) == 160
    assert all(not changing or (not forwards and changing == 1) for forwards, changing in seen)


def test_an_error_frees_it() -> None:
    model = torch.nn.Linear(1, 1)
    with pytest.raises(KeyError), lock_of(model).alone():
        raise KeyError
    with pytest.raises(KeyError), running(model):
        raise KeyError
    with lock_of(model).alone(), running(model):
        pass
    assert lock_of(model) is lock_of(model)
    assert lock_of(model) is not lock_of(torch.nn.Linear(1, 1))
