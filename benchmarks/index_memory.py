"""
How much memory and time does an index of a million passages take before it is searched, and then?

```
python -m benchmarks.index_memory
```

The vectors are random, the passages made-up words, the model that updates is the one that comes with the package. Each
measurement is taken in a process of its own, which has imported the package and, to update, loaded the model.
"""

from __future__ import annotations

import argparse
import functools
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import RESULTS
from benchmarks.alternatives.components import tiny_components
from benchmarks.report import result_name, write_result
from onegen_hf import OneGenForCausalLM, Passage, PassageIndex
from onegen_hf.index import ModelFingerprint
from onegen_hf.index.backends.faiss import FaissBackend, build_faiss
from onegen_hf.modeling.tokenizers import load_tokenizer
from onegen_hf.pipelines import DEFAULT_CHECKPOINT

BLOCK = 10_000
"""Vectors made at a time; the first block trains the clusters and the codebooks."""
MEASUREMENTS = ("read", "update", "remove")


class RandomPassages(Sequence[Passage]):
    """As many passages as wanted, of made-up words, each made when it is asked for."""

    def __init__(self, number: int, words: int = 80) -> None:
        self._number, self._words = number, words
        generator = random.Random(0)
        self._vocabulary = ["".join(generator.choices("abcdefghijklmnopqrstuvwxyz", k=7)) for _ in range(5000)]

    def __len__(self) -> int:
        return self._number

    def __getitem__(self, row: Any) -> Any:
        words = random.Random(row).choices(self._vocabulary, k=self._words)
        halves = (" ".join(words[::2]) + ".", " ".join(words[1::2]) + ".")
        return Passage(f"passage-{row}", " ".join(words[:3]), " ".join(halves), halves)


def random_vectors(number: int, dimension: int) -> Iterator[np.ndarray]:
    """Blocks of vectors of unit length."""
    generator = np.random.default_rng(0)
    for start in range(0, number, BLOCK):
        block = generator.standard_normal((min(BLOCK, number - start), dimension), np.float32)
        yield block / np.linalg.norm(block, axis=1, keepdims=True)


def make_index(directory: Path, number: int, factory: str, quick: bool) -> None:
    """Write an index that is trained on the first block of its vectors."""
    model, tokenizer = load_model(quick)
    blocks = random_vectors(number, model.config.hidden_size)
    first = next(blocks)
    faiss_index = build_faiss(first, factory)
    for block in blocks:
        faiss_index.add(block)
    fingerprint = ModelFingerprint.of(model, tokenizer)
    counts = np.ones(number, np.int64)
    PassageIndex(RandomPassages(number), FaissBackend.of(faiss_index, factory), counts, fingerprint).save(directory)


def load_model(quick: bool) -> tuple[Any, Any]:
    """The model and the tokenizer that come with the package; random and tiny with `--quick`."""
    if quick:
        components = tiny_components("float32", "cpu")
        return components.model, components.tokenizer
    return OneGenForCausalLM.from_pretrained(DEFAULT_CHECKPOINT, dtype="float32").eval(), load_tokenizer(
        DEFAULT_CHECKPOINT
    )


def memory() -> dict[str, float]:
    """Resident MiB of this process, mapped files included: now, and the most there ever were."""
    # Not getrusage: the peak that it tells of a process starts with that of its parent.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    fields = {"resident": "VmRSS", "peak": "VmHWM"}
    return {name: int(status.partition(f"{key}:")[2].split()[0]) / 2**10 for name, key in fields.items()}


class Meter:
    """Seconds of steps, and what the process has grown by since the meter was made, in MiB."""

    def __init__(self) -> None:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts here
        self._before = memory()["resident"]
        self.steps: dict[str, dict[str, float]] = {}

    def step(self, name: str, action: Callable[[], Any]) -> Any:
        """Run a step."""
        start = time.perf_counter()
        result = action()
        seconds = time.perf_counter() - start
        grown = {f"{key}_mib": round(value - self._before, 1) for key, value in memory().items()}
        self.steps[name] = {"seconds": round(seconds, 3), **grown}
        return result


def measure(name: str, directory: Path, quick: bool = False) -> dict[str, dict[str, float]]:
    """One of the measurements, in this process."""
    model, tokenizer = load_model(quick) if name == "update" else (None, None)
    meter = Meter()
    index = meter.step("load", lambda: PassageIndex.load(directory))
    if name == "read":
        queries = np.random.default_rng(1).standard_normal((65, index.dimension), np.float32)
        _, rows = meter.step("first search", lambda: index.search(queries[:1], 10))
        meter.step("first passages", lambda: [index[row] for row in rows[0]])
        meter.step("64 searches", lambda: [index.search(query[None], 10) for query in queries[1:]])
    elif name == "update":
        new = [{"id": "passage-17", "text": "Replaced."}, {"id": "new", "text": "Added."}]
        meter.step("update", lambda: index.update(model, tokenizer, new, show_progress=False))
    else:
        meter.step("remove", lambda: index.remove(["passage-17"]))
    return meter.steps


def in_fresh_process(name: str, directory: Path) -> dict[str, dict[str, float]]:
    """One of the measurements, in a new process."""
    command = [sys.executable, "-m", "benchmarks.index_memory", "--measure", name, "--directory", str(directory)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def main() -> None:
    """Run the measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vectors", type=int, default=1_000_000)
    parser.add_argument("--factory", default="IVF256,PQ64np")
    parser.add_argument("--directory", type=Path, help="keeps the index here, and measures one that is here already")
    parser.add_argument("--measure", choices=MEASUREMENTS, help="one measurement of --directory, in this process")
    parser.add_argument("--quick", action="store_true", help="few vectors, a tiny random model, all in this process")
    options = parser.parse_args()
    if options.quick:
        options.vectors, options.factory = 2000, "IVF4,SQ8"
    if options.measure:
        print(json.dumps(measure(options.measure, options.directory)))
        return
    measured = functools.partial(measure, quick=True) if options.quick else in_fresh_process
    with tempfile.TemporaryDirectory() as temporary:
        directory = options.directory or Path(temporary)
        if not (directory / "index.json").is_file():
            make_index(directory, options.vectors, options.factory, options.quick)
        description = json.loads((directory / "index.json").read_text(encoding="utf-8"))
        name = result_name("index_memory", options.quick)
        write_result(
            RESULTS / f"{name}.json",
            {
                "question": "How much memory and time does an index take before it is searched, and then?",
                **{key: description[key] for key in ("passages", "dimension", "factory")},
                "file_mib": {name: round(size / 2**20, 1) for name, size in description["files"].items()},
                "grown_by": {name: measured(name, directory) for name in MEASUREMENTS},
            },
        )


if __name__ == "__main__":
    main()
