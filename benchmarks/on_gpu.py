"""
What does one GPU do in a few minutes: are the results right, and how fast are training, decoding and encoding?

```
python -m benchmarks.on_gpu --seconds 480
```

Models have random weights and real shapes (135M, and a Llama of 1B), so nothing is downloaded. Contenders take turns
and ratios are taken per repeat. The result file is written after each measurement, so a run that is cut off keeps what
it has. Parts that `--seconds` leaves no time for, that lack a package (which is said at once), or that fail are named
in it, and the others go on. `--quick` runs everything on tiny models, on a CPU too.

- `training`: a joint step against plain fine-tuning on as many real tokens.
- `decoding`: one pass against `generate`, at 1, 8, 32 and 128 rows.
- `encoding`: passages against the forward of a SentenceTransformer.
- `tests`: the tests that need a GPU.
- `training_with_liger`: as `training`, with Liger's kernels, where they are installed.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import os
import subprocess
import sys
import traceback
from collections.abc import Iterator, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from benchmarks import RESULTS
from benchmarks.gpu.measuring import Budget, Measurement, timed
from benchmarks.report import result_name, write_result
from onegen_hf.training.utilization import peak_tflops

NAME = "on_gpu"
TESTS: dict[str, tuple[str, ...]] = {
    "tests/modeling/test_variable_length.py": (),
    "tests/generation/test_recorded_step.py": ("faiss",),
    "tests/modeling/test_flash_rows.py": (),
    "tests/modeling/test_fused_loss.py": (),
}
"""File → the packages that its tests need beside those of the part."""
PARTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "training": ("benchmarks.gpu.training", ("peft", "datasets")),
    "decoding": ("benchmarks.gpu.decoding", ("datasets",)),
    "encoding": ("benchmarks.gpu.encoding", ("datasets",)),
    "tests": ("benchmarks.on_gpu", ("pytest", "pytest_timeout", "peft", "datasets", "trl")),
    "training_with_liger": ("benchmarks.gpu.training", ("peft", "datasets", "liger_kernel")),
}
"""Part → its module, which is imported when its turn comes, and the packages it can't do without."""


def missing_packages(part: str) -> list[str]:
    """The packages that a part needs and that are not installed."""
    return [package for package in PARTS[part][1] if find_spec(package) is None]


def measurements(part: str, device: str, dtype: torch.dtype, budget: Budget, quick: bool) -> Iterator[Measurement]:
    """What a part measures, one after the other."""
    if part == "tests":
        return tests(budget, quick)
    return getattr(importlib.import_module(PARTS[part][0]), part)(device, dtype, budget, quick)


def matrix_product(device: str, dtype: torch.dtype) -> float:
    """TFLOP/s of a large matrix product: what the device reaches beside what its maker states."""
    size = 8192 if device != "cpu" else 64
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    timed(lambda: a @ b, device)
    seconds = timed(lambda: [a @ b for _ in range(10)], device) / 10
    return round(2 * size**3 / seconds / 1e12, 1)


def run_tests(path: str, budget: Budget) -> list[str] | str:
    """The last lines of pytest, in a process of its own."""
    if missing := [package for package in TESTS[path] if find_spec(package) is None]:
        return f"left out: not installed: {', '.join(missing)}"
    root = Path(__file__).resolve().parent.parent
    marked = "not slow" if find_spec("liger_kernel") is not None else "not slow and not liger"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", marked, path]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])}
    try:
        done = subprocess.run(
            command, cwd=root, env=environment, capture_output=True, text=True, timeout=max(20.0, budget.left)
        )
    except subprocess.TimeoutExpired:
        return "not finished in time"
    return (done.stdout.strip() or done.stderr.strip()).splitlines()[-8:]


def tests(budget: Budget, quick: bool) -> Iterator[Measurement]:
    """
    The tests that need a GPU.

    Yields:
        [`Measurement`]: A file of tests, and the function that runs it.
    """
    for path in list(TESTS)[: 1 if quick else None]:
        yield path, partial(run_tests, path, budget)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=480.0, help="no measurement begins after this time")
    parser.add_argument("--parts", nargs="+", choices=sorted(PARTS), default=list(PARTS), help="what to run, in order")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--output-dir", type=Path, help="folder of the result file; default: benchmarks/results")
    parser.add_argument("--quick", action="store_true", help="tiny models, to see that it runs")
    options = parser.parse_args(arguments)
    if options.device == "cpu" and not options.quick:
        parser.error("there is no GPU here: --quick runs the programs on tiny models")
    if options.quick:
        options.dtype = "float32"
    return options


def failure(error: Exception) -> dict[str, str]:
    """What the result says of a measurement that failed, whose trace is printed."""
    traceback.print_exception(error)
    return {"error": f"{type(error).__name__}: {error}"}


def run(options: argparse.Namespace) -> dict[str, Any]:
    """
    Run the parts, each for itself, and write the result after each measurement.

    Args:
        options (`argparse.Namespace`): From [`parse`].
    """
    budget = Budget(options.seconds)
    dtype, device = getattr(torch, options.dtype), options.device
    path = (options.output_dir or RESULTS) / f"{result_name(NAME, options.quick)}.json"
    missing = {part: packages for part in options.parts if (packages := missing_packages(part))}
    if find_spec("faiss") is None:
        print("tests of decoding are left out: not installed: faiss", flush=True)
    for part, packages in missing.items():
        print(f"{part} is left out: not installed: {', '.join(packages)}", flush=True)
    result: dict[str, Any] = {
        "question": "What does one GPU do in a few minutes?",
        "dtype": options.dtype,
        "stated_tflops": peak_tflops(torch.device(device)),
        "missing_packages": missing,
    }
    try:
        result["matrix_product_tflops"] = matrix_product(device, dtype)
    except Exception as error:
        result["matrix_product_tflops"] = failure(error)
    for part in options.parts:
        result[part] = {}
        if part in missing:
            result[part] = f"left out: not installed: {', '.join(missing[part])}"
        elif budget.left < 0:
            result[part] = "left out: no time"
        else:
            try:
                for name, measure in measurements(part, device, dtype, budget, options.quick):
                    result[part][name] = measured(measure, budget, device)
                    result["seconds_used"] = round(options.seconds - budget.left, 1)
                    write_result(path, result, quiet=True)
                    print(part, name, json.dumps(result[part][name]), flush=True)
            except Exception as error:  # of what the measurements of a part share; the other parts go on
                result[part] |= failure(error)
        write_result(path, result, quiet=True)
    print(path.read_text(encoding="utf-8"))
    return result


def measured(measure: Any, budget: Budget, device: str) -> Any:
    """The result of a measurement, or why there is none."""
    if budget.left < 0:
        return "left out: no time"
    try:
        return measure()
    except Exception as error:  # the others go on
        return failure(error)
    finally:
        gc.collect()
        if device != "cpu":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()


def main() -> None:
    """Run the measurements."""
    run(parse())


if __name__ == "__main__":
    main()
