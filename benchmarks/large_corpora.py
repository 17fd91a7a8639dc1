"""
Does encoding in shards take the same memory whatever the corpus, and do two workers take half the time of one?

```
python -m benchmarks.large_corpora
```

The passages are made-up words, and the model is random and tiny, so that they pass quickly: what is measured is
everything around the model. Each step runs in a process of its own.

Two workers on the cores of one machine share what else runs there. So their speed is measured with a model that waits
0.4 seconds for each batch, as for an accelerator of its own (`--parts waiting`, a minute).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
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

QUESTION = "Does encoding in shards take the same memory whatever the corpus, and do two workers take half the time?"
WORDS = 12
FACTORY = "IVF1024,SQ8"
STEPS = ("encode", "merge flat", "merge", "read")
SECONDS_PER_BATCH, BATCHES, PER_BATCH = 0.4, 60, 16
"""Of an imagined accelerator. Each batch is a shard."""
PARTS = ("memory", "waiting")


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


def waiting(embed: Callable[..., Any]) -> Callable[..., Any]:
    """The method of a model that waits for an accelerator."""

    def wait_and_embed(*args: Any, **kwargs: Any) -> Any:
        time.sleep(SECONDS_PER_BATCH)
        return embed(*args, **kwargs)

    return wait_and_embed


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


def measure_waiting(directory: Path) -> dict[str, Any]:
    """Seconds of one worker and of two, each with an accelerator. They are forked: starting Python is not measured."""
    torch.set_num_threads(1)
    model, tokenizer = load_model(quick=True)
    model.embed = waiting(model.embed)
    write_corpus(directory / "corpus.jsonl", BATCHES * PER_BATCH)

    def encode(target: Path) -> None:
        stream = stream_documents(directory / "corpus.jsonl")
        encode_shards(
            model, tokenizer, stream, target, shard_size=PER_BATCH, batch_size=PER_BATCH, show_progress=False
        )

    seconds = []
    for workers in (1, 2):
        began = time.perf_counter()
        target = (directory / str(workers),)
        processes = [multiprocessing.get_context("fork").Process(target=encode, args=target) for _ in range(workers)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
            if process.exitcode:
                raise RuntimeError(f"a worker ended with code {process.exitcode}")
        seconds.append(round(time.perf_counter() - began, 1))
    return {
        "passages": BATCHES * PER_BATCH, "shards": BATCHES, "seconds_per_batch": SECONDS_PER_BATCH,
        "seconds_one_worker": seconds[0], "seconds_two_workers": seconds[1],
        "times_as_fast": round(seconds[0] / seconds[1], 2),
    }  # fmt: skip


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
    parser.add_argument(
        "--parts", nargs="+", choices=PARTS, default=PARTS, help="the result keeps what it has of others"
    )
    parser.add_argument("--name", help="of the result")
    parser.add_argument("--step", choices=STEPS, help="one step, in this process")
    parser.add_argument("--directory", type=Path, help="of the step")
    parser.add_argument("--quick", action="store_true", help="few passages, all in this process")
    options = parser.parse_args()
    if options.step:
        print(json.dumps(measured(partial(run_step, options.step, options.directory))))
        return
    file = RESULTS / f"{options.name or result_name('large_corpora', options.quick)}.json"
    kept = json.loads(file.read_text()) if file.is_file() and set(options.parts) != set(PARTS) else {}
    result = {"question": QUESTION, **{name: kept[name] for name in ("runs", "waiting") if name in kept}}
    with tempfile.TemporaryDirectory() as temporary:
        if options.quick:
            result["runs"] = [quick_run(Path(temporary))]
        elif "memory" in options.parts:
            result["runs"] = list(memory_runs(options, Path(temporary)))
    if "waiting" in options.parts and not options.quick:
        with tempfile.TemporaryDirectory() as temporary:
            result["waiting"] = measure_waiting(Path(temporary))
    write_result(file, result)


def quick_run(directory: Path) -> dict[str, Any]:
    """All steps of a small corpus, in this process."""
    write_corpus(directory / "corpus.jsonl", 2000)
    steps = {name: measured(partial(run_step, name, directory, "IVF16,SQ8")) for name in STEPS}
    return {"passages": 2000, "workers": 1, **steps}


def memory_runs(options: argparse.Namespace, directory: Path) -> Iterator[dict[str, Any]]:
    """The smallest corpus with each number of workers, and the larger ones with one."""
    smallest, *larger = sorted(options.passages)
    for number, workers in [*((smallest, workers) for workers in options.workers), *((n, 1) for n in larger)]:
        run = measure(number, workers, directory)
        print(json.dumps(run), file=sys.stderr, flush=True)
        yield run
        shutil.rmtree(directory)
        directory.mkdir()


if __name__ == "__main__":
    main()
