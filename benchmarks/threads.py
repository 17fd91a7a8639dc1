"""
Do threads that share one model answer more questions per second, and the same as one by one?

```
python -m benchmarks.threads --threads 1 2 4
```

Each thread answers its own questions, one at a time, with the same pipeline. Numbers of threads take turns within each
repeat, and ratios are taken per repeat. torch computes with one thread for each of ours, so that the comparison is of
ours alone.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from transformers import pipeline

import onegen_hf  # noqa: F401  (registers the pipeline)
from benchmarks import RESULTS
from benchmarks.report import result_name, spread, write_result
from onegen_hf.cli.demo import demo_questions


def timed(rag: Any, questions: list[str], threads: int) -> tuple[float, list[str]]:
    """Seconds for all questions, dealt out to threads, and their texts in order."""
    start = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        texts = list(pool.map(lambda question: rag(question)["text"], questions))
    return time.perf_counter() - start, texts


def compare(rag: Any, questions: list[str], counts: Sequence[int], repeats: int) -> dict[int, dict[str, Any]]:
    """Let the numbers of threads take turns, and relate each one to the first."""
    rag(questions[0])  # warm-up
    seconds: dict[int, list[float]] = {count: [] for count in counts}
    texts: dict[int, list[str]] = {}
    for _ in range(repeats):
        for count in counts:
            taken, texts[count] = timed(rag, questions, count)
            seconds[count].append(taken)
    baseline = counts[0]
    return {
        count: {
            "questions_per_second": round(len(questions) / statistics.median(seconds[count]), 3),
            f"times_{baseline}_thread": spread(
                [one / other for one, other in zip(seconds[baseline], seconds[count], strict=True)], 2
            ),
            "same_texts": texts[count] == texts[baseline],
        }
        for count in counts
    }


def main() -> None:
    """Run the measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=None)
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--questions", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="two questions, once")
    options = parser.parse_args()
    if options.quick:
        options.threads, options.questions, options.repeats = [1, 2], 2, 1
    torch.set_num_threads(1)
    rag = pipeline("onegen-rag", model=options.model, dtype=options.dtype)
    known = demo_questions()
    questions = [known[number % len(known)] for number in range(options.questions)]
    name = result_name("threads", options.quick)
    write_result(
        RESULTS / f"{name}.json",
        {
            "question": "Do threads that share one model answer more questions per second, and the same?",
            "dtype": str(rag.model.dtype).removeprefix("torch."),
            "questions": len(questions),
            "repeats": options.repeats,
            "threads": compare(rag, questions, options.threads, options.repeats),
        },
    )


if __name__ == "__main__":
    main()
