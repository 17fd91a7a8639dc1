"""Work in a thread of its own leaves no threads behind that would slow down the one that decodes."""

from __future__ import annotations

import threading

import pytest
from support.forked_python import ForkedPython

from onegen_hf.serving.own_thread import in_own_thread

LEFT_BEHIND = """
import sys, time, psutil, torch
from onegen_hf.serving.own_thread import in_own_thread

def compute():
    values = torch.ones(512, 512)
    product = (values @ values).exp_().sum()
    return psutil.Process().num_threads()

torch.set_num_threads(4)
before = psutil.Process().num_threads()
during = in_own_thread(compute)
for _ in range(100):  # workers end a moment after their thread
    if psutil.Process().num_threads() == before:
        break
    time.sleep(0.05)
print(during - before, psutil.Process().num_threads() - before)
"""


def test_it_returns_and_raises_as_the_function_does() -> None:
    names: list[str] = []

    def name_of_thread(value: int) -> int:
        names.append(threading.current_thread().name)
        return value + 1

    assert in_own_thread(name_of_thread, 2) == 3
    assert names == ["onegen-name_of_thread"]
    assert all(thread.name not in names for thread in threading.enumerate())
    for error in (ValueError("no such model"), SystemExit(2)):
        with pytest.raises(type(error)) as caught:
            in_own_thread(raise_, error)
        assert caught.value is error


def raise_(error: BaseException) -> None:
    raise error


def test_torch_leaves_no_workers_behind() -> None:
    process = ForkedPython(LEFT_BEHIND)
    assert process.wait() == 0, process.stderr
    during, after = map(int, process.stdout.split())
    assert during >= 4  # the thread itself, and three workers
    assert after == 0
