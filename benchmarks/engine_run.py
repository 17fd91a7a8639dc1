"""
The part of [`benchmarks.serving_engines`] that runs in the environment of an engine.

```
python -m benchmarks.engine_run ENGINE CHECKPOINT JOB.json RESULT.json
```
"""

from __future__ import annotations

import json
import queue
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil

WARM_UP = 2
"""Questions before the first measurement."""
RPC_SECONDS = 60


def cpu_seconds() -> float:
    """Of this process and those that it has started, so far: vLLM decodes in one of its own."""
    this = psutil.Process()
    times = [process.cpu_times() for process in (this, *this.children(recursive=True))]
    return float(sum(one.user + one.system for one in times))


class TransformersRun:
    """Ours."""

    def __init__(self, checkpoint: str, limits: Any, job: dict[str, Any]) -> None:
        from transformers import pipeline

        from onegen_hf.serving.engines import TransformersServingEngine

        rag = pipeline("onegen-rag", model=checkpoint, dtype=job["dtype"])
        self.engine: Any = TransformersServingEngine(rag, limits, "onegen")
        self._fed = 0
        rag.model.get_input_embeddings().register_forward_hook(self._count)

    def _count(self, module: Any, args: Any, output: Any) -> None:
        self._fed += args[0].numel()

    def fed(self) -> int:
        """Positions that went through the model so far."""
        return self._fed


class VllmRun:
    """vLLM with our worker in it."""

    def __init__(self, checkpoint: str, limits: Any, job: dict[str, Any]) -> None:
        from onegen_hf.serving.engines import VllmServingEngine

        arguments: dict[str, Any] = {
            "enforce_eager": not job["compile"],
            "worker_extension_cls": "benchmarks.vllm_counting.Counting",
        }
        self.engine: Any = VllmServingEngine(checkpoint, limits, "onegen", dtype=job["dtype"], **arguments)
        self._ask("onegen_begin")

    def _ask(self, name: str) -> Any:
        return self.engine._call(self.engine._around.engine.collective_rpc(name), RPC_SECONDS)

    def fed(self) -> int:
        """Positions that went through the model so far."""
        (fed,) = self._ask("onegen_fed")
        return int(fed)


RUNS: dict[str, Any] = {"transformers": TransformersRun, "vllm": VllmRun}


def answer(scheduler: Any, questions: Sequence[str], concurrency: int, options: dict[str, Any]) -> list[Any]:
    """Results in order, with `concurrency` questions on their way until there are fewer left."""
    from onegen_hf.serving import GenerationRequest, Refusal

    def ask(question: str) -> Any:
        deliveries: queue.SimpleQueue[Any] = queue.SimpleQueue()
        scheduler.submit(GenerationRequest(question, **options), deliveries.put)
        while True:
            what = deliveries.get()
            if isinstance(what, Refusal):
                raise what
            if what.type == "done":
                return what.result

    with ThreadPoolExecutor(concurrency) as clients:
        return list(clients.map(ask, questions))


def run_job(name: str, checkpoint: str, job: dict[str, Any], result_file: Path) -> None:
    """Answer all questions once for each number of concurrent ones; what has been measured is written at once."""
    from onegen_hf.serving import Scheduler, ServingLimits

    limits = ServingLimits(
        batch_size=max(job["concurrencies"]), max_client_requests=1 + max(job["concurrencies"]), max_seconds=3600.0
    )
    run = RUNS[name](checkpoint, limits, job)
    scheduler = Scheduler(run.engine, limits)
    scheduler.start()
    answer(scheduler, job["questions"][:WARM_UP], 1, job["options"])
    measured: dict[str, Any] = {}
    for concurrency in job["concurrencies"]:
        fed, cpu, wall = run.fed(), cpu_seconds(), time.perf_counter()
        results = answer(scheduler, job["questions"], concurrency, job["options"])
        wall, cpu = time.perf_counter() - wall, cpu_seconds() - cpu
        measured[str(concurrency)] = {
            "wall_seconds": wall,
            "cpu_seconds": cpu,
            "fed": run.fed() - fed,
            "answers": [
                {"text": result["text"], "answer": result["answer"], "usage": result["usage"]} for result in results
            ],
        }
        result_file.write_text(json.dumps(measured))
        print(f"{name}, {concurrency} at a time: {wall:.1f} s", file=sys.stderr)
    scheduler.close()


if __name__ == "__main__":
    engine_name, checkpoint_directory, job_path, result_path = sys.argv[1:]
    run_job(engine_name, checkpoint_directory, json.loads(Path(job_path).read_text()), Path(result_path))
