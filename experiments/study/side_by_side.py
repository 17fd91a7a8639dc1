"""`side_by_side`: runs of a study in processes of their own, for a GPU that one run does not keep busy."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any

import torch


def side_by_side(run: Callable[..., Any], tasks: Sequence[tuple[Any, ...]], processes: int) -> Iterator[Any]:
    """
    Carry out tasks, some at a time.

    Args:
        run (`Callable`): Called with the values of a task; what it takes and gives back can be pickled.
        tasks (`Sequence[tuple]`)
        processes (`int`): With 1, all is done in this process. Each gets its share of the processor's threads.

    Yields:
        (task, result), in the order in which they are done. What a task raises in a process of its own is raised once
        all others are done.
    """
    if processes == 1:
        for task in tasks:
            yield task, run(*task)
        return
    # Not forked: a process that has used a GPU can't be.
    context = multiprocessing.get_context("spawn")
    threads = max(1, (os.cpu_count() or 1) // processes)
    with ProcessPoolExecutor(processes, context, torch.set_num_threads, (threads,)) as pool:
        running = {pool.submit(run, *task): task for task in tasks}
        failures = []
        for done in as_completed(running):
            if (failure := done.exception()) is None:
                yield running[done], done.result()
            else:
                failures.append(failure)
    if failures:
        raise failures[0]
