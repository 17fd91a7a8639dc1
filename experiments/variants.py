"""
Which training retrieves and answers best, and does generation suffer from retrieval?

```
python -m experiments.variants --data data/wiki2hop
```

Every run of [`VARIANTS`] differs from `base` in one thing. All see the same examples in the same order (as far as they
see them), and are measured on the same held-out questions, with the same passages to search. Finished runs are kept in
`--out` and in the result file: a second call makes those that are missing, and the picture anew.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from benchmarks.plot import Panel, plot_bars
from benchmarks.report import low_mean_high, result_name, write_result
from benchmarks.tiny import tiny_backbone, tiny_repository
from experiments import RESULTS
from experiments.study import (
    VARIANTS,
    Setup,
    StudyData,
    load_trained,
    merged_start,
    score,
    side_by_side,
    train_variant,
)
from onegen_hf.modeling.backbones import SMOLLM2

NAME = "variants"
QUESTION = "Which training retrieves and answers best, and does generation suffer from retrieval?"


def parse(
    arguments: Sequence[str] | None = None,
    description: str | None = __doc__,
    add_options: Callable[[argparse.ArgumentParser], None] | None = None,
) -> argparse.Namespace:
    """Read the options; `add_options` adds those of another program."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="dataset repository with the splits train and dev")
    parser.add_argument("--start", help="checkpoint that all runs start from; SmolLM2-135M if not given")
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--examples", type=int, default=480, help="that base is trained on")
    parser.add_argument("--examples-per-step", type=int, default=8)
    parser.add_argument("--questions", type=int, default=200, help="held-out questions")
    parser.add_argument("--passages", type=int, default=1000, help="that are searched")
    parser.add_argument("--embedded-tokens", type=int, default=64, help="of a passage, for its embedding")
    parser.add_argument("--inserted-tokens", type=int, default=128, help="of a passage that was found")
    parser.add_argument("--batch-size", type=int, default=16, help="questions answered together")
    parser.add_argument("--out", default="outputs/variants", help="trained models and their answers")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--processes", type=int, default=1, help="runs at a time, for a GPU that one does not fill")
    parser.add_argument("--name", default=NAME, help="of the result file")
    parser.add_argument("--quick", action="store_true", help="a tiny random model, to see that it runs")
    if add_options is not None:
        add_options(parser)
    options = parser.parse_args(arguments)
    if options.quick:
        options.examples, options.questions, options.passages, options.dtype = 8, 6, 20, "float32"
        options.name, options.out = result_name(options.name, quick=True), f"{options.out}/quick"
        options.device = "cpu"
        shutil.rmtree(options.out, ignore_errors=True)
    elif options.data is None:
        parser.error("--data is missing: a dataset repository with the splits train and dev")
    return options


def one_run(name: str, seed: int, setup: Setup, data: StudyData, options: argparse.Namespace) -> dict[str, Any]:
    """Train and measure a variant."""
    variant, path = VARIANTS[name], Path(options.out) / f"{name}-{seed}"
    facts = train_variant(variant, setup, data, path, seed)
    model, tokenizer = load_trained(variant, setup, path, seed)
    return {"asks": variant.asks, **facts, **asdict(score(model, tokenizer, data, path, options.batch_size))}


def known_runs(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The runs of the result file, if they were made with the same settings."""
    path = RESULTS / f"{name}.json"
    if not path.is_file():
        return {}
    result = json.loads(path.read_text(encoding="utf-8"))
    return dict(result["runs"]) if result["settings"] == settings else {}


def of_seeds(runs: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Least, mean and greatest score of the seeds of each variant that has several."""
    found: dict[str, list[Any]] = {}
    for name, run in runs.items():
        found.setdefault(name.rpartition(", seed ")[0], []).append(run)
    return {
        name: {
            "seeds": len(own),
            "perplexity": low_mean_high([run["perplexity"] for run in own]),
            **{
                part: {metric: low_mean_high([run[part][metric][0] for run in own]) for metric in own[0][part]}
                for part in ("retrieval", "answers", "gold_passages")
            },
        }
        for name, own in found.items()
        if len(own) > 1
    }


def draw(name: str, runs: Mapping[str, Any]) -> None:
    """Retrieval and answers of every run, with their intervals."""
    measured = {"recall@1 per hop": ("retrieval", "recall@1"), "F1": ("answers", "f1")}
    panels = []
    for label, (part, metric) in measured.items():
        bars = {}
        for run, one in runs.items():
            value, low, high = one[part][metric]
            bars[run] = {"": [low, value, high]}
        panels.append(Panel("after the gold text" if part == "retrieval" else "of answers", "", label, bars))
    plot_bars(RESULTS / f"{name}.svg", *panels)


def load(options: argparse.Namespace) -> tuple[Setup, StudyData, dict[str, Any]]:
    """What the runs have in common, their data, and the settings that the result names."""
    out = Path(options.out)
    source, backbone = (tiny_repository(out), tiny_backbone(out)) if options.quick else (options.data, SMOLLM2)
    if options.start is not None:
        backbone = merged_start(options.start, out / "start" / Path(options.start).name)
    setup = Setup(
        backbone, options.dtype, options.device, options.examples, options.examples_per_step,
        options.embedded_tokens, options.inserted_tokens,
    )  # fmt: skip
    data = StudyData.load(source, options.questions, options.passages)
    settings = {
        "data": Path(source).name,
        "backbone": Path(backbone).name,
        "examples": setup.examples,
        "examples_per_step": setup.batch_size,
        "questions": len(data.questions),
        "passages": len(data.searched),
        "embedded_tokens": setup.embedded_tokens,
        "inserted_tokens": setup.inserted_tokens,
        "dtype": setup.dtype,
        **({} if setup.device == "cpu" else {"matrix_products": "TF32"}),
    }
    return setup, data, settings


def main() -> None:
    """Run the measurement."""
    options = parse()
    setup, data, settings = load(options)
    runs = {} if options.quick else known_runs(options.name, settings)
    wanted = [(name, seed) for seed in options.seeds for name in options.variants]
    tasks = [(name, seed, setup, data, options) for name, seed in wanted if f"{name}, seed {seed}" not in runs]
    for (name, seed, *_), run in side_by_side(one_run, tasks, options.processes):
        runs[f"{name}, seed {seed}"] = run
        write_result(
            RESULTS / f"{options.name}.json",
            {"question": QUESTION, "settings": settings, "runs": runs, "seeds": of_seeds(runs)},
        )
    draw(options.name, runs)


if __name__ == "__main__":
    main()
