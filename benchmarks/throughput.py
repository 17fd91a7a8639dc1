"""
How much faster are questions answered together than one by one?

```
python -m benchmarks.throughput --batch-sizes 1 8 16
```

The same questions, weights and index; the batch sizes take turns within each repeat, and ratios are taken per repeat.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from typing import Any

from transformers import pipeline

import onegen_hf  # noqa: F401  (registers the pipeline)
from benchmarks import RESULTS
from benchmarks.report import result_name, spread, write_result
from onegen_hf.cli.demo import demo_questions


def timed(rag: Any, questions: list[str], batch_size: int) -> tuple[float, list[str]]:
    """Seconds for all questions, and their texts."""
    start = time.perf_counter()
    results = rag(questions, batch_size=batch_size)
    return time.perf_counter() - start, [result["text"] for result in results]


def compare(rag: Any, questions: list[str], batch_sizes: Sequence[int], repeats: int) -> dict[int, dict[str, Any]]:
    """Let the batch sizes take turns, and relate each one to the first."""
    rag(questions[0])  # warm-up
    seconds: dict[int, list[float]] = {size: [] for size in batch_sizes}
    texts: dict[int, list[str]] = {}
    for _ in range(repeats):
        for size in batch_sizes:
            taken, texts[size] = timed(rag, questions, size)
            seconds[size].append(taken)
    baseline = batch_sizes[0]
    return {
        size: {
            "questions_per_second": round(len(questions) / statistics.median(seconds[size]), 3),
            f"times_batch_{baseline}": spread(
                [one / other for one, other in zip(seconds[baseline], seconds[size], strict=True)], 2
            ),
            "same_texts": texts[size] == texts[baseline],
        }
        for size in batch_sizes
    }


def main() -> None:
    """Run the measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=None)
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 8, 16])
    parser.add_argument("--questions", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="two questions, once")
    options = parser.parse_args()
    if options.quick:
        options.batch_sizes, options.questions, options.repeats = [1, 2], 2, 1
    rag = pipeline("onegen-rag", model=options.model, dtype=options.dtype)
    known = demo_questions()
    questions = [known[number % len(known)] for number in range(options.questions)]
    name = result_name("throughput", options.quick)
    write_result(
        RESULTS / f"{name}.json",
        {
            "question": "How much faster are questions answered together than one by one?",
            "dtype": str(rag.model.dtype).removeprefix("torch."),
            "questions": len(questions),
            "repeats": options.repeats,
            "batch_sizes": compare(rag, questions, options.batch_sizes, options.repeats),
        },
    )


if __name__ == "__main__":
    main()
