"""
Does encoding in shards take the same memory whatever the corpus, and do two workers take half the time of one?

```
python -m benchmarks.large_corpora
```

The passages are made-up words, and the model is random and tiny, so that they pass quickly: what is measured is
everything around the model. Each step runs in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import RESULTS
from benchmarks.index_memory import load_model, memory
from benchmarks.report import result_name, write_result
from onegen_hf import PassageIndex
from onegen_hf.data.streaming import stream_documents
from onegen_hf.index import encode_shards, merge_shards

WORDS = 12
FACTORY = "IVF1024,SQ8"
STEPS = ("encode", "merge flat", "merge", "read")


def write_corpus(path: Path, number: int) -> None:
    """A JSON lines file with passages of made-up words."""
    generator = random.Random(0)
    vocabulary = ["".join(generator.choices("abcdefghijklmnopqrstuvwxyz", k=5)) for _ in range(5000)]
    with open(path, "w", encoding="utf-8") as file:
        for row in range(number):
            words = generator.choices(vocabulary, k=WORDS)
            record = {"id": f"passage-{row}", "title": " ".join(words[:2]), "text": " ".join(words[2:]) + "."}
            file.write(json.dumps(record) + "\n")


def run_step(name: str, directory: Path, factory: str = FACTORY) -> None:
    """One of the steps, in this process."""
    if name == "encode":
        torch.set_num_threads(1)
        model, tokenizer = load_model(quick=True)
        stream = stream_documents(directory / "corpus.jsonl")
        encode_shards(model, tokenizer, stream, directory / "shards", batch_size=256, show_progress=False)
    elif name == "merge flat":
        merge_shards(directory / "shards", directory / "flat", show_progress=False)
    elif name == "merge":
        merge_shards(directory / "shards", directory / "index", factory=factory, show_progress=False)
    else:
        index = PassageIndex.load(directory / "index")
        queries = np.random.default_rng(1).standard_normal((64, index.dimension), np.float32)
        _, rows = index.search(queries, 10)
        assert index[rows[0, 0]].text


def measured(action: Callable[[], Any]) -> dict[str, float]:
    """Seconds, seconds of the processor and the peak of resident memory of this process."""
    start = time.perf_counter()
    action()
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "seconds": round(time.perf_counter() - start, 1),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_mib": round(memory()["peak"], 1),
    }


def start(name: str, directory: Path) -> Any:
    """A step in a new process, which prints what it took."""
    command = [sys.executable, "-m", "benchmarks.large_corpora", "--step", name, "--directory", str(directory)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def result_of(process: Any) -> dict[str, float]:
    """What a process of [`start`] has printed."""
    output, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(f"a step ended with code {process.returncode}")
    return json.loads(output.splitlines()[-1])


def measure(number: int, workers: int, directory: Path) -> dict[str, Any]:
    """All steps for a corpus of this size."""
    write_corpus(directory / "corpus.jsonl", number)
    began = time.perf_counter()
    processes = [start("encode", directory) for _ in range(workers)]
    encoding = [result_of(process) for process in processes]
    result: dict[str, Any] = {
        "passages": number,
        "workers": workers,
        "seconds": round(time.perf_counter() - began, 1),
        "encode": encoding,
    }
    if workers == 1:
        result |= {name: result_of(start(name, directory)) for name in STEPS[1:]}
        files = [file for file in (directory / "index").iterdir() if file.is_file()]
        result["index_mib"] = round(sum(file.stat().st_size for file in files) / 2**20, 1)
    return result


def main() -> None:
    """Run the measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--passages", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="measured with the smallest corpus")
    parser.add_argument("--name", help="of the result")
    parser.add_argument("--step", choices=STEPS, help="one step, in this process")
    parser.add_argument("--directory", type=Path, help="of the step")
    parser.add_argument("--quick", action="store_true", help="few passages, all in this process")
    options = parser.parse_args()
    if options.step:
        print(json.dumps(measured(partial(run_step, options.step, options.directory))))
        return
    runs = []
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary)
        if options.quick:
            write_corpus(directory / "corpus.jsonl", 2000)
            steps = {name: measured(partial(run_step, name, directory, "IVF16,SQ8")) for name in STEPS}
            runs.append({"passages": 2000, "workers": 1, **steps})
        else:
            smallest, *larger = sorted(options.passages)
            for number, workers in [*((smallest, workers) for workers in options.workers), *((n, 1) for n in larger)]:
                runs.append(measure(number, workers, directory))
                print(json.dumps(runs[-1]), file=sys.stderr, flush=True)
                shutil.rmtree(directory)
                directory.mkdir()
    write_result(
        RESULTS / f"{options.name or result_name('large_corpora', options.quick)}.json",
        {"question": "Does encoding in shards take the same memory whatever the corpus?", "runs": runs},
    )


if __name__ == "__main__":
    main()
