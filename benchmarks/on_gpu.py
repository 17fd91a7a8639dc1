"""
What does one GPU do in a few minutes: are the results right, and how fast are training, decoding and encoding?

```
python -m benchmarks.on_gpu --seconds 480
```

Models have random weights and real shapes (135M, and a Llama of 1B), so nothing is downloaded. Contenders take turns
and ratios are taken per repeat. The result file is written after each measurement, so a run that is cut off keeps what
it has; parts that `--seconds` leaves no time for are named in it. `--quick` runs everything on tiny models, on a CPU
too.

- `training`: a joint step against plain fine-tuning on as many real tokens.
- `decoding`: one pass against `generate`, at 1, 8, 32 and 128 rows.
- `encoding`: passages against the forward of a SentenceTransformer.
- `tests`: the tests that need a GPU.
- `training_with_liger`: as `training`, with Liger's kernels, where they are installed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from benchmarks import RESULTS
from benchmarks.gpu.decoding import decoding
from benchmarks.gpu.encoding import encoding
from benchmarks.gpu.measuring import Budget, timed
from benchmarks.gpu.training import training, training_with_liger
from benchmarks.report import result_name, write_result
from onegen_hf.training.utilization import peak_tflops

NAME = "on_gpu"
TESTS = ["tests/modeling/test_variable_length.py", "tests/generation/test_recorded_step.py"]


def matrix_product(device: str, dtype: torch.dtype) -> float:
    """TFLOP/s of a large matrix product: what the device reaches beside what its maker states."""
    size = 8192 if device != "cpu" else 64
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    timed(lambda: a @ b, device)
    seconds = timed(lambda: [a @ b for _ in range(10)], device) / 10
    return round(2 * size**3 / seconds / 1e12, 1)


def gpu_tests(device: str, dtype: torch.dtype, budget: Budget, quick: bool) -> Iterator[tuple[str, Any]]:
    """
    Run the tests that need a GPU, in a process of their own.

    Yields:
        `tuple`: "summary" and the last lines of pytest.
    """
    root = Path(__file__).resolve().parent.parent
    tests = TESTS[:1] if quick else TESTS
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])}
    try:
        done = subprocess.run(
            command, cwd=root, env=environment, capture_output=True, text=True, timeout=max(20.0, budget.left)
        )
        yield "summary", done.stdout.strip().splitlines()[-6:]
    except subprocess.TimeoutExpired:
        yield "summary", "not finished in time"


PARTS: dict[str, Callable[[str, torch.dtype, Budget, bool], Iterator[tuple[str, Any]]]] = {
    "training": training,
    "decoding": decoding,
    "encoding": encoding,
    "tests": gpu_tests,
    "training_with_liger": training_with_liger,
}


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


def main() -> None:
    """Run the measurements."""
    options = parse()
    budget = Budget(options.seconds)
    dtype, device = getattr(torch, options.dtype), options.device
    path = (options.output_dir or RESULTS) / f"{result_name(NAME, options.quick)}.json"
    result: dict[str, Any] = {
        "question": "What does one GPU do in a few minutes?",
        "dtype": options.dtype,
        "stated_tflops": peak_tflops(torch.device(device)),
        "matrix_product_tflops": matrix_product(device, dtype),
    }
    for name in options.parts:
        if budget.left < 0 or (name == "training_with_liger" and find_spec("liger_kernel") is None):
            result[name] = "left out: no time" if budget.left < 0 else "left out: liger-kernel is not installed"
            continue
        result[name] = {}
        try:
            for key, values in PARTS[name](device, dtype, budget, options.quick):
                result[name][key] = values
                result["seconds_used"] = round(options.seconds - budget.left, 1)
                write_result(path, result, quiet=True)
                print(name, key, json.dumps(values), flush=True)
        except Exception as error:  # the other parts are measured all the same
            traceback.print_exc()
            result[name]["error"] = f"{type(error).__name__}: {error}"
        write_result(path, result, quiet=True)
    print(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
