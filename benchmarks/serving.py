"""
How does the server hold up under many clients, and how much of the pipeline's throughput does it keep?

```
python -m benchmarks.serving --clients 64 --seconds 300
python -m benchmarks.serving --engine vllm --clients 8     # ONEGEN_VLLM_PYTHON names the interpreter with vLLM
```

Starts `onegen-hf serve` in a process of its own. Each client has its own key and sends the demo's questions one after
the other, every second one as a stream; what has not been answered when the time is up is given up. Before and after
(with `--once` after alone), the pipeline answers the same questions at the same batch size in a process of its own.
The server's answers are counted after a fifth of the time, when it is under full load. Ratios are also taken of the
processor seconds per question, in which OpenMP's workers count while they spin, and not while they sleep. The whole
takes `--seconds`, twice `--pipeline-seconds`, and what four batches of the pipeline and loading take.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks import RESULTS
from benchmarks.report import result_name, write_result
from benchmarks.serving_clients import measure
from benchmarks.tiny import tiny_backbone

PIPELINE = """
import json, sys, time
import onegen_hf
from transformers import pipeline
from onegen_hf.cli.demo import demo_questions
batch_size, seconds, dtype, model, options = (json.loads(argument) for argument in sys.argv[1:])
rag = pipeline("onegen-rag", model=model, dtype=dtype)
known, asked = demo_questions(), []
rag(known[:batch_size], batch_size=batch_size, **options)
wall, cpu = time.perf_counter(), time.process_time()

def questions():
    while time.perf_counter() - wall < seconds:
        asked.append(known[len(asked) % len(known)])
        yield asked[-1]

results = list(rag(questions(), batch_size=batch_size, **options))
print(json.dumps({
    "counted_questions": len(results),
    "counted_seconds": time.perf_counter() - wall,
    "counted_cpu_seconds": time.process_time() - cpu,
    "answers": {
        question: [result["answer"], *(hop["query"] for hop in result["retrievals"])]
        for question, result in zip(asked, results)
    },
}))
"""
VLLM_PYTHON = "ONEGEN_VLLM_PYTHON"
STOP_SECONDS = 30.0


@dataclass
class Load:
    """What is asked, of which model."""

    batch_size: int
    dtype: str
    model: str | None = None
    max_tokens: int | None = None
    retrieval: str = "adaptive"

    def body(self) -> dict[str, Any]:
        """Of a request, without its question."""
        return {"max_tokens": self.max_tokens, "retrieval": self.retrieval}


def vllm_environment() -> dict[str, str]:
    """The variables for a process with vLLM, which has a core of its own beside the server's process."""
    defaults = {"VLLM_CPU_KVCACHE_SPACE": "4", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_NO_USAGE_STATS": "1"}
    return {**defaults, **os.environ}


def tiny_checkpoint(directory: Path) -> str:
    """A random model with an index of two passages: what a request costs beside the model."""
    from transformers import pipeline

    from onegen_hf import OneGenForCausalLM, PassageIndex
    from onegen_hf.modeling.tokenizers import load_tokenizer

    backbone = tiny_backbone(directory, tied=False, heads=1)  # of 32 dimensions, the fewest that vLLM takes on a CPU
    tokenizer = load_tokenizer(backbone)
    model = OneGenForCausalLM.from_backbone(backbone, tokenizer).float().eval()
    index = PassageIndex.build(model, tokenizer, ["Tin Boat is a film.", "Fern Bay is a town."], show_progress=False)
    pipeline("onegen-rag", model=model, tokenizer=tokenizer, index=index).save_pretrained(directory / "tiny")
    return str(directory / "tiny")


def merged_checkpoint(directory: Path) -> str:
    """The bundled model as a plain checkpoint with its index, as vLLM needs it."""
    from transformers import pipeline

    rag = pipeline("onegen-rag", dtype="float32")
    rag.save_pretrained(directory / "merged")
    return str(directory / "merged")


def pipeline_run(load: Load, seconds: float) -> dict[str, Any]:
    """The pipeline alone."""
    print(f"the pipeline answers for {seconds:.0f} s ...", file=sys.stderr)
    options = {"max_new_tokens": load.max_tokens, "retrieval": load.retrieval}
    arguments = [load.batch_size, seconds, load.dtype, load.model, options]
    command = [sys.executable, "-c", PIPELINE, *map(json.dumps, arguments)]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return dict(json.loads(output.splitlines()[-1]))


class Served:
    """The server's process, from when it listens to the end of the block."""

    def __init__(self, load: Load, keys: Sequence[str], engine: str) -> None:
        python = os.environ.get(VLLM_PYTHON, sys.executable) if engine == "vllm" else sys.executable
        self.command = [
            *(python, "-m", "onegen_hf", "serve", "--port", "0", "--dtype", load.dtype, "--engine", engine),
            *("--batch-size", str(load.batch_size), "--max-seconds", "7200"),
            *(() if load.model is None else ("--model", load.model)),
        ]
        variables = vllm_environment() if engine == "vllm" else os.environ
        self.environment = {**variables, "ONEGEN_API_KEYS": ",".join(keys)}

    def __enter__(self) -> Served:
        print("the server starts ...", file=sys.stderr)
        self.process = subprocess.Popen(
            self.command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=self.environment
        )
        lines: list[str] = []
        assert self.process.stderr is not None
        try:
            for line in self.process.stderr:
                lines.append(line)
                if match := re.search(r"running on (http://[\d.:]+)", line):
                    self.url = match[1]
                    break
            else:
                raise RuntimeError(f"the server did not start: {''.join(lines[-5:])}")
        except BaseException:
            self.__exit__()
            raise
        threading.Thread(target=self.process.stderr.read, daemon=True).start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _processes(self) -> list[psutil.Process]:
        server = psutil.Process(self.process.pid)
        return [server, *server.children(recursive=True)]  # vLLM decodes in a process of its own

    def cpu_seconds(self) -> float:
        """Of the server so far."""
        times = [process.cpu_times() for process in self._processes()]
        return float(sum(one.user + one.system for one in times))

    def memory(self) -> int:
        """Resident bytes."""
        return int(sum(process.memory_info().rss for process in self._processes()))


def main() -> None:
    """Run the measurement."""
    from onegen_hf.cli.demo import demo_questions

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--engine", choices=("transformers", "vllm"), default="transformers")
    parser.add_argument("--pipeline-seconds", type=float, default=60, help="for each of the pipeline's two runs")
    parser.add_argument("--once", action="store_true", help="let the pipeline answer after the server only")
    parser.add_argument("--tiny", action="store_true", help="a random model, whose forwards cost next to nothing")
    parser.add_argument("--quick", action="store_true", help="the same with four clients, for five seconds")
    options = parser.parse_args()
    if options.quick:
        options.clients, options.seconds, options.batch_size, options.pipeline_seconds = 4, 5.0, 2, 2.0
    keys = [f"client-{number}" for number in range(options.clients)]
    tiny = options.tiny or options.quick
    load = Load(options.batch_size, options.dtype)
    with tempfile.TemporaryDirectory() as directory:
        if tiny:
            load.model, load.max_tokens, load.retrieval = tiny_checkpoint(Path(directory)), 32, "always"
        elif options.engine == "vllm":
            load.model = merged_checkpoint(Path(directory))
        runs = [] if options.once else [pipeline_run(load, options.pipeline_seconds)]
        with Served(load, keys, options.engine) as served:
            under_load = asyncio.run(
                measure(
                    served.url, load.body(), keys, demo_questions(), options.seconds, served.memory, served.cpu_seconds
                )
            )
        answers = under_load.pop("answers")
        print(json.dumps(under_load), file=sys.stderr)  # in case that what follows is ended before its time
        runs.append(pipeline_run(load, options.pipeline_seconds))
    known = runs[-1]["answers"]
    compared = [(question, answer) for question, answer in answers if question in known]
    same = sum(known[question] == answer for question, answer in compared)
    ratios = {
        f"{kind}_server_over_pipeline": round(
            under_load["counted_questions"]
            / under_load[seconds]
            / statistics.mean(run["counted_questions"] / run[seconds] for run in runs),
            3,
        )
        for kind, seconds in (("wall", "counted_seconds"), ("cpu", "counted_cpu_seconds"))
    }
    name = "serving" + ("_tiny" if options.tiny else "") + ("_vllm" if options.engine == "vllm" else "")
    write_result(
        RESULTS / f"{result_name(name, options.quick)}.json",
        {
            "question": "How does the server hold up under many clients?",
            "model": "tiny" if tiny else "built-in",
            "engine": options.engine,
            "clients": options.clients,
            "batch_size": options.batch_size,
            "dtype": options.dtype,
            "server": {
                name: round(value, 3) if isinstance(value, float) else value for name, value in under_load.items()
            },
            "pipeline_questions_per_second": [
                round(run["counted_questions"] / run["counted_seconds"], 3) for run in runs
            ],
            "questions_per_second": ratios,
            "same_answers": [same, len(compared)],
        },
    )


if __name__ == "__main__":
    main()
