"""Processes that encode one corpus together, and can be killed: forked, so that imports cost nothing."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from onegen_hf.index.shards import encode_shards, encoder

FORK = multiprocessing.get_context("fork")


def contents(folder: Path) -> dict[str, str]:
    """Relative path → digest of every file of an encoding, except what depends on the corpus's place on disk."""
    files = [file for file in sorted(folder.rglob("*")) if file.is_file() and file.name != "corpus.json"]
    return {file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def start_worker(log: Path, *args: Any, **options: Any) -> Any:
    """A process that calls [`encode_shards`] and appends every shard that it has written to a log."""
    process = FORK.Process(target=_work, args=(log, args, {"show_progress": False, **options}))
    process.start()
    return process


def _work(log: Path, args: tuple[Any, ...], options: dict[str, Any]) -> None:
    torch.set_num_threads(1)
    write: Callable[..., None] = encoder.write_shard

    def logged(path: Path, *rest: Any, **named: Any) -> None:
        write(path, *rest, **named)
        handle = os.open(log, os.O_APPEND | os.O_CREAT | os.O_WRONLY)
        os.write(handle, f"{path.name}\n".encode())
        os.close(handle)

    encoder.write_shard = logged
    encode_shards(*args, **options)


def encode_with_kills(
    log: Path, seed: int, kills: int, workers: int, longest: float, *args: Any, **options: Any
) -> int:
    """
    Encode with several workers, kill one of them at random times and start another in its place.

    Returns:
        `int`: How many were killed while they worked.
    """
    chance = random.Random(seed)
    running = [start_worker(log, *args, **options) for _ in range(workers)]
    killed = 0
    for _ in range(kills):
        time.sleep(chance.uniform(0, longest))
        place = chance.randrange(workers)
        victim = running[place]
        if victim.is_alive():
            os.kill(victim.pid, signal.SIGKILL)
            killed += 1
        victim.join()
        running[place] = start_worker(log, *args, **options)
    for process in running:
        process.join(120)
        assert process.exitcode == 0
    return killed
