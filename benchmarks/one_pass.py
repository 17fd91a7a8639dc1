"""
How much faster is one pass than a pipeline, two passes of one model, and re-reading?

```
python -m benchmarks.one_pass
```

The checkpoint that comes with the package answers with each of [`ALTERNATIVES`]. Prompts are lengthened with passages
that have nothing to do with the question, and the answers are scripted, so that all do the same work: they embed the
query, search, insert the same passages and write the same words. The query is all that was read and written so far,
as where a long question or a conversation is searched for. Alternatives take turns within each repeat, in changing
order, and ratios are taken per repeat. Peak memory is that of a process of its own.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks import RESULTS
from benchmarks.alternatives import ALTERNATIVES, Alternative, Components, Task
from benchmarks.alternatives.components import load_components, tiny_components
from benchmarks.alternatives.meters import Clock, PeakMemory, counted_tokens
from benchmarks.alternatives.workload import scripted_task
from benchmarks.plot import Panel, plot_lines
from benchmarks.report import machine, result_name, spread, write_result
from data_builders.facts.split import load_demo_questions
from onegen_hf.data.chat_rendering import render_prompt
from onegen_hf.files import write_text_atomically

NAME = "one_pass"
SAME_ANSWERS = ("two_pass", "re_reading")
"""Their query embeddings are those of one pass, so a free answer must have the same ids."""


@dataclass(frozen=True)
class Cell:
    """One setting: tokens of a prompt, retrievals, prompts in the batch."""

    prompt_tokens: int
    hops: int
    batch_size: int


@dataclass(frozen=True)
class Setting:
    """How components are loaded, here and in a process of its own."""

    tiny: bool
    dtype: str
    device: str
    truncate_queries: bool
    threads: int

    def load(self) -> Components:
        """Load them."""
        torch.set_num_threads(self.threads)
        return (tiny_components if self.tiny else load_components)(self.dtype, self.device, self.truncate_queries)


def cells_of(options: argparse.Namespace) -> list[Cell]:
    """
    For each size of the batch: each length at `--at-hops`, each number of hops at `--at-length`, and the longest with
    the most hops; without those whose prompts together are longer than `--max-batch-tokens`.
    """
    pairs = [(length, options.at_hops) for length in options.lengths]
    pairs += [(options.at_length, hops) for hops in options.hops]
    pairs += [(max(options.lengths), max(options.hops))]
    cells = [Cell(*pair, batch_size) for batch_size in options.batch_sizes for pair in sorted(set(pairs))]
    limit = options.max_batch_tokens
    return [cell for cell in cells if limit is None or cell.prompt_tokens * cell.batch_size <= limit]


@dataclass(frozen=True)
class Run:
    """Seconds on the clock and of processor time, and the token positions of the batch that each model forwarded."""

    seconds: float
    processor_seconds: float
    tokens: dict[str, int]


def run(alternative: Alternative, task: Task, models: Mapping[str, torch.nn.Module]) -> Run:
    """Carry out a task; what was written is checked against the script."""
    with ExitStack() as stack:
        counts = {name: stack.enter_context(counted_tokens(model)) for name, model in models.items()}
        clock = Clock()
        answers = alternative(task)
        seconds, processor_seconds = clock.read()
    if task.script is not None and any(answer != task.script.ids for answer in answers):
        raise RuntimeError(f"{type(alternative).__name__} did not write the script")
    return Run(seconds, processor_seconds, {name: sum(count) for name, count in counts.items() if count})


def compare(components: Components, alternatives: dict[str, Alternative], cell: Cell, repeats: int) -> dict[str, Any]:
    """Let the alternatives take turns at one setting."""
    task = scripted_task(components, cell.prompt_tokens, cell.hops, cell.batch_size)
    warm_up = scripted_task(components, 32, 1, cell.batch_size)
    models = {"language_model": components.model.get_decoder()}
    if any(hasattr(alternative, "encoder") for alternative in alternatives.values()):
        models["encoder"] = components.encoder.transformer
    first, *others = names = list(alternatives)
    runs: dict[str, list[Run]] = {name: [] for name in names}
    for alternative in alternatives.values():
        run(alternative, warm_up, models)
    for repeat in range(repeats):
        turn = repeat % len(names)
        for name in names[turn:] + names[:turn]:
            runs[name].append(run(alternatives[name], task, models))
    seconds = {name: [one.seconds for one in runs[name]] for name in names}
    processor = {name: [one.processor_seconds for one in runs[name]] for name in names}
    return {
        **asdict(cell),
        "forwarded_tokens": {name: runs[name][0].tokens for name in names},
        "seconds": {name: spread(seconds[name], 3) for name in names},
        f"times_{first}": {name: spread(ratios(seconds[name], seconds[first]), 2) for name in others},
        f"processor_times_{first}": {name: spread(ratios(processor[name], processor[first]), 2) for name in others},
    }


def ratios(values: Sequence[float], others: Sequence[float]) -> list[float]:
    """Of each repeat."""
    return [one / other for one, other in zip(values, others, strict=True)]


def same_ids(components: Components, alternatives: dict[str, Alternative], questions: int) -> dict[str, str]:
    """On how many questions the alternatives that must answer like one pass do so, when nothing is scripted."""
    tokenizer, settings = components.tokenizer, components.model.onegen_config
    texts = [render_prompt(record["question"], tokenizer, settings) for record in load_demo_questions()[:questions]]
    task = Task([tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts], 128, 5)
    expected = alternatives[next(iter(alternatives))](task)
    found = {}
    for name in SAME_ANSWERS:
        if name in alternatives:
            same = [one == other for one, other in zip(expected, alternatives[name](task), strict=True)]
            found[name] = f"{sum(same)} of {len(same)}"
    return found


def peak_memory(setting: Setting, name: str, cell: Cell) -> float | None:
    """Peak memory in MiB of this process while it runs one alternative, once it is loaded."""
    components = setting.load()
    alternative = ALTERNATIVES[name](components)
    task = scripted_task(components, cell.prompt_tokens, cell.hops, cell.batch_size)
    memory = PeakMemory()
    alternative(task)
    peak = memory.read()
    return None if peak is None else round(peak, 1)


def peak_memories(setting: Setting, names: Sequence[str], cell: Cell) -> dict[str, float | None]:
    """Of each alternative, in a process of its own."""
    # A server that has imported all, and used no thread yet, makes the processes.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([f"benchmarks.{NAME}"])
    found = {}
    for name in names:
        with ProcessPoolExecutor(1, mp_context=context) as process:
            found[name] = process.submit(peak_memory, setting, name, cell).result()
    return found


class FinishedCells:
    """
    What is measured already, in a file that is removed once the result is written: an interrupted run goes on.

    Args:
        path (`Path`)
        settings (`Mapping`): The results of other settings, or of another machine, are not taken up.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        self.path = path
        self.content: dict[str, Any] = {"settings": dict(settings), "cells": []}
        if path.is_file():
            known = json.loads(path.read_text(encoding="utf-8"))
            if known["settings"] == self.content["settings"]:
                self.content = known

    def get(self, cell: Cell) -> dict[str, Any] | None:
        """The result at a setting, if it is known."""
        same = (found for found in self.content["cells"] if asdict(cell).items() <= found.items())
        return next(same, None)

    def add(self, result: dict[str, Any]) -> None:
        """Keep the result at a setting."""
        self.content["cells"].append(result)
        self.path.parent.mkdir(exist_ok=True)
        write_text_atomically(self.path, json.dumps(self.content))

    def remove(self) -> None:
        """The result is written."""
        self.path.unlink(missing_ok=True)


def panels(results: Sequence[dict[str, Any]], options: argparse.Namespace) -> list[Panel]:
    """Time against the length of the prompt and against hops, for each size of the batch."""
    drawn = []
    for batch_size in options.batch_sizes:
        own = [result for result in results if result["batch_size"] == batch_size]
        for axis, fixed, value in (
            ("prompt_tokens", "hops", options.at_hops),
            ("hops", "prompt_tokens", options.at_length),
        ):
            series: dict[str, dict[int, list[float]]] = {}
            for result in own:
                if result[fixed] == value:
                    for name, seconds in result["seconds"].items():
                        series.setdefault(name.replace("_", " "), {})[result[axis]] = seconds
            if not series:
                continue
            by_length = axis == "prompt_tokens"
            title = f"batch {batch_size}, " + (f"{value} hops" if by_length else f"{value:,} prompt tokens")
            drawn.append(Panel(title, axis.replace("_", " "), "seconds", series, log_x=by_length, log_y=by_length))
    return drawn


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", type=int, nargs="+", default=[32, 128, 512, 1024, 2048, 4096])
    parser.add_argument("--hops", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--at-hops", type=int, default=3, help="number of hops where the length is varied")
    parser.add_argument("--at-length", type=int, default=1024, help="length where the number of hops is varied")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--max-batch-tokens", type=int, help="leave out settings with more tokens in all prompts")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--questions", type=int, default=8, help="free questions on which ids are compared")
    parser.add_argument("--alternatives", nargs="+", choices=list(ALTERNATIVES)[1:], default=list(ALTERNATIVES)[1:])
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32", help="of all models")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--truncate-queries", action="store_true", help="the encoder reads the last 256 word pieces of a query only"
    )
    parser.add_argument("--no-memory", action="store_true", help="leave out peak memory, which loads all models anew")
    parser.add_argument("--name", default=NAME, help="of the result file")
    parser.add_argument(
        "--quick", action="store_true", help="tiny random models and few settings, to see that it runs"
    )
    options = parser.parse_args(arguments)
    if options.quick:
        options.lengths, options.hops, options.at_hops, options.at_length = [32, 256], [1, 2], 2, 256
        options.batch_sizes, options.repeats, options.questions = [2], 2, 2
        options.name = result_name(options.name, quick=True)
    return options


def main() -> None:
    """Run the measurement."""
    options = parse()
    setting = Setting(options.quick, options.dtype, options.device, options.truncate_queries, torch.get_num_threads())
    components = setting.load()
    alternatives = {name: ALTERNATIVES[name](components) for name in [next(iter(ALTERNATIVES)), *options.alternatives]}
    name = options.name
    known = {**asdict(setting), "alternatives": list(alternatives), "repeats": options.repeats, "machine": machine()}
    finished = FinishedCells(RESULTS / f"{name}.partial.json", known)
    results = []
    for cell in cells_of(options):
        result = finished.get(cell)
        if result is None:
            result = compare(components, alternatives, cell, options.repeats)
            finished.add(result)
        results.append(result)
        print(json.dumps(result), file=sys.stderr, flush=True)
    # Of each size of the batch, the last one: the longest with the most hops.
    largest = {} if options.no_memory else {f"batch {cell.batch_size}": cell for cell in cells_of(options)}
    write_result(
        RESULTS / f"{name}.json",
        {
            "question": "How much faster is one pass than a pipeline, two passes of one model, and re-reading?",
            "dtype": options.dtype,
            "truncate_queries": options.truncate_queries,
            "repeats": options.repeats,
            "settings": results,
            "peak_mib": {
                batch: {**asdict(cell), **peak_memories(setting, list(alternatives), cell)}
                for batch, cell in largest.items()
            },
            "same_ids": same_ids(components, alternatives, options.questions),
        },
    )
    plot_lines(RESULTS / f"{name}.svg", *panels(results, options))
    finished.remove()


if __name__ == "__main__":
    main()
