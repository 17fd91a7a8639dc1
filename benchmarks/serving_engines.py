"""
Does vLLM answer as our own engine does, with every token forwarded once, and how fast are both?

```
ONEGEN_VLLM_PYTHON=.venv-vllm/bin/python python -m benchmarks.serving_engines --questions 50 --concurrencies 1 8 32
```

Both engines answer the same questions over the bundled passages, through the same scheduler, each in a process of its
own. Positions that go through the model are counted by a hook on its token embedding, and in vLLM as they are
scheduled. Other work on the machine disturbs the processor seconds, of all processes of an engine together, less than
the time.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import psutil

from benchmarks import RESULTS
from benchmarks.report import result_name, write_result
from benchmarks.serving import VLLM_PYTHON, merged_checkpoint, tiny_checkpoint, vllm_environment
from data_builders.facts.builder import build_facts

COUNTED = ("prompt_tokens", "generated_tokens", "retrieved_tokens")
Measured = dict[str, Any]


def questions_of_facts(number: int) -> list[str]:
    """Questions over the bundled passages, of one to four hops; none was trained on."""
    _, tables, _ = build_facts(1, number)
    return [row["messages"][0]["content"] for row in tables["dev"]][:number]


def run_engine(name: str, checkpoint: str, job: dict[str, Any], directory: Path, seconds: float) -> Measured:
    """What one engine answers, and what that took, for each number of concurrent questions that it got to."""
    print(f"{name} answers {len(job['questions'])} questions ...", file=sys.stderr)
    job_file, result_file = directory / "job.json", directory / f"{name}.json"
    job_file.write_text(json.dumps(job))
    python = os.environ.get(VLLM_PYTHON, sys.executable) if name == "vllm" else sys.executable
    environment = vllm_environment() if name == "vllm" else dict(os.environ)
    command = [python, "-m", "benchmarks.engine_run", name, checkpoint, str(job_file), str(result_file)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        print(f"{name} was stopped after {seconds:.0f} s", file=sys.stderr)
    finally:
        kill_tree(process)
    if not result_file.exists():
        raise RuntimeError(f"the engine {name} ended before its first result")
    return dict(json.loads(result_file.read_text()))


def kill_tree(process: subprocess.Popen[bytes]) -> None:
    """End a process with all that it has started."""
    if process.poll() is None:
        for each in [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]:
            each.kill()
        process.wait()


def figures(measured: Measured) -> dict[str, Any]:
    """Of one engine and one number of concurrent questions."""
    answers = measured["answers"]
    tokens = sum(answer["usage"][kind] for answer in answers for kind in COUNTED)
    return {
        "questions_per_second": round(len(answers) / measured["wall_seconds"], 3),
        "questions_per_cpu_second": round(len(answers) / measured["cpu_seconds"], 3),
        "forwarded_tokens": measured["fed"],
        "prompt_generated_and_inserted_tokens": tokens,
        # The last token of a text is not forwarded.
        "forwarded_over_needed": round(measured["fed"] / (tokens - len(answers)), 4),
    }


def same_texts(one: Measured, other: Measured) -> list[int]:
    """How many texts, with their passages, are equal, of how many."""
    pairs = list(zip(one["answers"], other["answers"], strict=True))
    return [sum(left["text"] == right["text"] for left, right in pairs), len(pairs)]


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engines", nargs="+", choices=("transformers", "vllm"), help="by default both")
    parser.add_argument("--questions", type=int, default=50)
    parser.add_argument("--concurrencies", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--max-tokens", type=int, default=64, help="most generated tokens of an answer")
    parser.add_argument("--seconds", type=float, default=600, help="for each engine, loading included")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--compile", action="store_true", help="let vLLM compile the model, which takes minutes")
    parser.add_argument("--quick", action="store_true", help="our engine alone, on a random model")
    options = parser.parse_args()
    engines = options.engines or (["transformers"] if options.quick else ["transformers", "vllm"])
    if options.quick:
        options.questions, options.concurrencies = 4, [1, 2]
    job = {
        "questions": questions_of_facts(options.questions),
        "concurrencies": options.concurrencies,
        "dtype": options.dtype,
        "compile": options.compile,
        "options": {"max_new_tokens": options.max_tokens},
    }
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        checkpoint = tiny_checkpoint(directory) if options.quick else merged_checkpoint(directory)
        runs = {engine: run_engine(engine, checkpoint, job, directory, options.seconds) for engine in engines}
    first = runs[engines[0]]
    levels = [level for level in map(str, options.concurrencies) if all(level in run for run in runs.values())]
    write_result(
        RESULTS / f"{result_name('serving_engines', options.quick)}.json",
        {
            "question": "Does vLLM answer as our own engine does, with every token forwarded once, and how fast are "
            "both?",
            "model": "tiny" if options.quick else "built-in",
            "questions": options.questions,
            "dtype": options.dtype,
            "max_tokens": options.max_tokens,
            "vllm_compiles": options.compile,
            "concurrent": {
                level: {
                    name: {**figures(run[level]), "same_texts": same_texts(first[level], run[level])}
                    for name, run in runs.items()
                }
                for level in levels
            },
        },
    )


if __name__ == "__main__":
    main()
