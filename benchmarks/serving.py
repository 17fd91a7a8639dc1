"""
How does the server hold up under many clients, and how much of the pipeline's throughput does it keep?

```
python -m benchmarks.serving --clients 64 --seconds 300
```

Starts `onegen-hf serve` in a process of its own. Each client has its own key and sends the demo's questions one after
the other, every second one as a stream. Before and after, the pipeline answers the same questions at the same batch
size in a process of its own; ratios are also taken of the processor seconds per question, which other work on the
machine disturbs least.
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
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from benchmarks import RESULTS
from benchmarks.report import result_name, write_result
from benchmarks.tiny import tiny_backbone

PIPELINE = """
import json, sys, time
import onegen_hf
from transformers import pipeline
from onegen_hf.cli.demo import demo_questions
batch_size, count, dtype, model, options = (json.loads(argument) for argument in sys.argv[1:])
rag = pipeline("onegen-rag", model=model, dtype=dtype)
known = demo_questions()
questions = [known[n % len(known)] for n in range(count)]
rag(questions[:batch_size], batch_size=batch_size, **options)
wall, cpu = time.perf_counter(), time.process_time()
results = rag(questions, batch_size=batch_size, **options)
print(json.dumps({
    "questions": count,
    "wall_seconds": time.perf_counter() - wall,
    "cpu_seconds": time.process_time() - cpu,
    "answers": {
        question: [result["answer"], *(hop["query"] for hop in result["retrievals"])]
        for question, result in zip(questions, results)
    },
}))
"""
WARM_UP = 0.2
"""Share of the time before memory is compared with itself."""


@dataclass
class Client:
    """What one client has seen."""

    seconds: list[float] = field(default_factory=list)
    first_token: list[float] = field(default_factory=list)
    answers: list[tuple[str, list[str]]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


@dataclass
class Load:
    """What is asked, of which model."""

    batch_size: int
    dtype: str
    model: str | None = None
    max_tokens: int | None = None
    retrieval: str = "adaptive"


def tiny_checkpoint(directory: Path) -> str:
    """A random model with an index of two passages: what a request costs beside the model."""
    from transformers import pipeline

    from onegen_hf import OneGenForCausalLM, PassageIndex
    from onegen_hf.modeling.tokenizers import load_tokenizer

    backbone = tiny_backbone(directory, tied=False)
    tokenizer = load_tokenizer(backbone)
    model = OneGenForCausalLM.from_backbone(backbone, tokenizer).float().eval()
    index = PassageIndex.build(model, tokenizer, ["Tin Boat is a film.", "Fern Bay is a town."], show_progress=False)
    pipeline("onegen-rag", model=model, tokenizer=tokenizer, index=index).save_pretrained(directory / "tiny")
    return str(directory / "tiny")


def pipeline_run(load: Load, count: int) -> dict[str, Any]:
    """The pipeline alone."""
    options = {"max_new_tokens": load.max_tokens, "retrieval": load.retrieval}
    arguments = [load.batch_size, count, load.dtype, load.model, options]
    command = [sys.executable, "-c", PIPELINE, *map(json.dumps, arguments)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return dict(json.loads(output.splitlines()[-1]))


class Served:
    """The server's process, once it listens."""

    def __init__(self, load: Load, keys: Sequence[str]) -> None:
        command = [
            *(sys.executable, "-m", "onegen_hf", "serve", "--port", "0", "--dtype", load.dtype),
            *("--batch-size", str(load.batch_size), "--max-seconds", "7200"),
            *(() if load.model is None else ("--model", load.model)),
        ]
        environment = {**os.environ, "ONEGEN_API_KEYS": ",".join(keys)}
        self.process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment
        )
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if match := re.search(r"running on (http://[\d.:]+)", line):
                self.url = match[1]
                break
        else:
            raise RuntimeError("the server did not start")
        threading.Thread(target=self.process.stderr.read, daemon=True).start()
        self.measured = psutil.Process(self.process.pid)

    def cpu_seconds(self) -> float:
        """Of the process so far."""
        times = self.measured.cpu_times()
        return float(times.user + times.system)

    def memory(self) -> int:
        """Resident bytes."""
        return int(self.measured.memory_info().rss)


async def ask(http: httpx.AsyncClient, load: Load, key: str, question: str, streamed: bool, client: Client) -> None:
    """One request."""
    body = {
        "messages": [{"role": "user", "content": question}],
        "stream": streamed,
        "max_tokens": load.max_tokens,
        "retrieval": load.retrieval,
    }
    headers = {"Authorization": f"Bearer {key}"}
    start, first, answer = time.perf_counter(), None, list[str]()
    try:
        async with http.stream("POST", "/v1/chat/completions", json=body, headers=headers) as response:
            if response.status_code != 200:
                await response.aread()
                client.errors.append(f"{response.status_code} {response.text[:100]}")
                return
            async for line in response.aiter_lines():
                if not line or line == "data: [DONE]":
                    continue
                chunk = json.loads(line.removeprefix("data: "))
                if "error" in chunk:
                    client.errors.append(chunk["error"]["message"])
                    return
                if streamed and first is None and chunk["choices"][0]["delta"].get("content"):
                    first = time.perf_counter() - start
                if "answer" in chunk:
                    answer = [chunk["answer"], *(hop["query"] for hop in chunk["retrievals"])]
    except httpx.HTTPError as error:
        client.errors.append(repr(error))
        return
    client.seconds.append(time.perf_counter() - start)
    client.answers.append((question, answer))
    if first is not None:
        client.first_token.append(first)


async def measure(
    served: Served, load: Load, keys: Sequence[str], questions: Sequence[str], seconds: float
) -> dict[str, Any]:
    """Let all clients ask until the time is up, and finish."""
    clients = [Client() for _ in keys]
    memory: list[tuple[float, int]] = []
    begin = time.perf_counter()

    async def watch() -> None:
        while True:
            memory.append((time.perf_counter() - begin, served.memory()))
            await asyncio.sleep(1)

    async with httpx.AsyncClient(base_url=served.url, timeout=7200, limits=httpx.Limits(), trust_env=False) as http:

        async def run(number: int) -> None:
            asked = number
            while time.perf_counter() - begin < seconds:
                question = questions[asked % len(questions)]
                await ask(http, load, keys[number], question, asked % 2 == 0, clients[number])
                asked += 1

        watching = asyncio.create_task(watch())
        cpu = served.cpu_seconds()
        await asyncio.gather(*(run(number) for number in range(len(keys))))
        wall, cpu = time.perf_counter() - begin, served.cpu_seconds() - cpu
        watching.cancel()
    medians = [statistics.median(client.seconds) for client in clients if client.seconds]
    first = sorted(value for client in clients for value in client.first_token)
    late = [size for moment, size in memory if moment > WARM_UP * wall]
    third = max(len(late) // 3, 1)
    return {
        "questions": sum(len(client.seconds) for client in clients),
        "errors": sorted({error for client in clients for error in client.errors}),
        "wall_seconds": wall,
        "cpu_seconds": cpu,
        "answers": [pair for client in clients for pair in client.answers],
        "slowest_median_over_fastest": max(medians) / min(medians),
        "seconds_p50": statistics.median(value for client in clients for value in client.seconds),
        "first_token_p50": first[len(first) // 2],
        "first_token_p95": first[int(len(first) * 0.95)],
        "memory_mb": [round(size / 1e6) for _, size in memory[:: max(len(memory) // 20, 1)]],
        "memory_last_third_over_first_after_warm_up": statistics.median(late[-third:])
        / statistics.median(late[:third]),
    }


def main() -> None:
    """Run the measurement."""
    from onegen_hf.cli.demo import demo_questions

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--pipeline-questions", type=int, default=48)
    parser.add_argument("--tiny", action="store_true", help="a random model, whose forwards cost next to nothing")
    parser.add_argument("--quick", action="store_true", help="the same with four clients, for five seconds")
    options = parser.parse_args()
    if options.quick:
        options.clients, options.seconds, options.batch_size, options.pipeline_questions = 4, 5.0, 2, 8
    keys = [f"client-{number}" for number in range(options.clients)]
    tiny = options.tiny or options.quick
    load = Load(options.batch_size, options.dtype)
    with tempfile.TemporaryDirectory() as directory:
        if tiny:
            load.model, load.max_tokens, load.retrieval = tiny_checkpoint(Path(directory)), 32, "always"
        before = pipeline_run(load, options.pipeline_questions)
        served = Served(load, keys)
        try:
            under_load = asyncio.run(measure(served, load, keys, demo_questions(), options.seconds))
        finally:
            served.process.terminate()
            served.process.wait(60)
        after = pipeline_run(load, options.pipeline_questions)
    answers = under_load.pop("answers")
    compared = [(question, answer) for question, answer in answers if question in before["answers"]]
    same = sum(before["answers"][question] == answer for question, answer in compared)
    ratios = {
        f"{kind}_server_over_pipeline": round(
            (under_load["questions"] / under_load[f"{kind}_seconds"])
            / statistics.mean(run["questions"] / run[f"{kind}_seconds"] for run in (before, after)),
            3,
        )
        for kind in ("wall", "cpu")
    }
    write_result(
        RESULTS / f"{result_name('serving_tiny' if options.tiny else 'serving', options.quick)}.json",
        {
            "question": "How does the server hold up under many clients?",
            "model": "tiny" if tiny else "built-in",
            "clients": options.clients,
            "batch_size": options.batch_size,
            "dtype": options.dtype,
            "server": {
                name: round(value, 3) if isinstance(value, float) else value for name, value in under_load.items()
            },
            "pipeline_questions_per_cpu_second": [
                round(run["questions"] / run["cpu_seconds"], 3) for run in (before, after)
            ],
            "questions_per_second": ratios,
            "same_answers": [same, len(compared)],
        },
    )


if __name__ == "__main__":
    main()
