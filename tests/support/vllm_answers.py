"""
Runs in the environment that holds vLLM: answers requests, and says how many positions went through the model.

```
python -m support.vllm_answers CHECKPOINT JOB.json RESULT.json
```
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any


def main() -> None:
    """Answer all requests of a job at once."""
    # Here, as vLLM's workers import this module as well.
    from onegen_hf.serving import GenerationRequest, Refusal, Scheduler, ServingLimits
    from onegen_hf.serving.engines import VllmServingEngine

    checkpoint, job_file, result_file = sys.argv[1:]
    job = json.loads(Path(job_file).read_text())
    limits = ServingLimits(**{"max_seconds": 600.0, **job.get("limits", {})})
    engine = VllmServingEngine(
        checkpoint,
        limits,
        "tiny",
        dtype=job.get("dtype", "float32"),
        worker_extension_cls="benchmarks.vllm_counting.Counting",
        **job.get("engine", {}),
    )
    scheduler = Scheduler(engine, limits)
    engine._call(engine._around.engine.collective_rpc("onegen_begin"), 60)
    scheduler.start()
    lasts: list[Any] = [None] * len(job["requests"])
    first: list[int] = []
    most = 0

    def deliver(place: int) -> Any:
        def take(what: Any) -> None:
            if isinstance(what, Refusal) or what.type == "done":
                lasts[place] = what
            else:
                first.append(place)

        return take

    cpu, wall = time.process_time(), time.monotonic()
    tickets = [
        scheduler.submit(GenerationRequest(**request), deliver(place)) for place, request in enumerate(job["requests"])
    ]
    for place in job.get("cancel", []):
        while place not in first:
            time.sleep(0.01)
        scheduler.cancel(tickets[place])
    while not all(lasts):
        most = max(most, scheduler.running)
        time.sleep(0.005)
    wall, cpu = time.monotonic() - wall, time.process_time() - cpu
    (fed,), (embedded,) = (
        engine._call(engine._around.engine.collective_rpc(name), 60) for name in ("onegen_fed", "onegen_embedded")
    )
    left = [path.name for path in engine._states.directory.iterdir()]
    results = [{"refused": last.code} if isinstance(last, Refusal) else last.to_dict()["result"] for last in lasts]
    content = {
        "results": results,
        "fed": fed,
        "embedded": embedded,
        "most_running": most,
        "states_left": left,
        "wall_seconds": wall,
    }
    Path(result_file).write_text(json.dumps(content))
    scheduler.close()


if __name__ == "__main__":
    main()
