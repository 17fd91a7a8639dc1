"""
Runs a function in processes that `torch.distributed` joins over gloo.

They are forked by a server that has imported the libraries and does nothing else: a process of pytest has threads by
then, and those that are forked from it end with a segmentation fault now and then.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.multiprocessing import start_processes

IMPORTED = [
    "peft", "bitsandbytes", "pytest", "torch.distributed.fsdp",
    "onegen_hf.training.trainer", "onegen_hf.pipelines", "onegen_hf.losses",
]  # fmt: skip
"""By the server, for all processes; what is not installed is left out."""


def _start(rank: int, function: Callable[..., Any], directory: Path, processes: int, args: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    gc.freeze()  # accelerate collects garbage in each training: not what the server had imported
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(processes),
        "GLOO_SOCKET_IFNAME": "lo",
    }
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "ACCELERATE_USE_CPU": "yes"}
    store = dist.FileStore(str(directory / "store"), processes)
    dist.init_process_group("gloo", rank=rank, store=store, world_size=processes)
    torch.save(function(rank, *args), directory / f"{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


def run_together(
    function: Callable[..., Any], directory: Path, *args: Any, processes: int = 2, timeout: float = 120.0
) -> list[Any]:
    """
    Call `function(rank, *args)` on every process and return the results (anything of tensors), by rank.

    A process that fails, or a deadlock, fails the caller. The function and its arguments are pickled: nothing that a
    test has patched reaches the processes.
    """
    directory.mkdir(parents=True, exist_ok=True)
    arguments = (function, directory, processes, args)
    multiprocessing.set_forkserver_preload(IMPORTED)
    context = start_processes(_start, args=arguments, nprocs=processes, join=False, start_method="forkserver")
    end = time.monotonic() + timeout
    while not context.join(timeout=1.0):
        if time.monotonic() > end:
            for process in context.processes:
                process.kill()
            raise TimeoutError(f"{function.__name__} hangs on {processes} processes")
    return [torch.load(directory / f"{rank}.pt", weights_only=True) for rank in range(processes)]
