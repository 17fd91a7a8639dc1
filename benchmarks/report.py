"""What every program reports about the machine, and how it writes its result."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import onegen_hf
from onegen_hf.files import write_text_atomically


def spread(values: Sequence[float], digits: int = 3) -> list[float]:
    """The lowest, the median and the highest value."""
    return [round(value, digits) for value in (min(values), statistics.median(values), max(values))]


def low_mean_high(values: Sequence[float], digits: int = 4) -> list[float]:
    """The lowest, the mean and the highest value: for a few runs that differ by chance."""
    return [round(value, digits) for value in (min(values), statistics.mean(values), max(values))]


def machine() -> dict[str, Any]:
    """The machine and the versions that a result depends on."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine()
    return {
        "device": device,
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        # Not its metadata: a checkout may run without being installed.
        "versions": {
            **{name: version(name) for name in ("torch", "transformers")},
            "onegen-hf": onegen_hf.__version__,
        },
    }


def result_name(name: str, quick: bool) -> str:
    """The name of the result file; a quick run keeps its result apart from the real one."""
    return f"{name}_quick" if quick else name


def write_result(path: Path, result: dict[str, Any], quiet: bool = False) -> None:
    """Write a result to a JSON file, and print it unless `quiet`."""
    content = json.dumps({**result, "machine": machine()}, indent=2, ensure_ascii=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text_atomically(path, content + "\n")
    if not quiet:
        print(content)
