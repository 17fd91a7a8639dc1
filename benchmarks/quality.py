"""
How well does a checkpoint retrieve and answer, and how well would it answer with the right passages?

```
python -m benchmarks.quality --dataset data/wiki2hop --dtype bfloat16
```

It is `onegen-hf evaluate --gold-passages`, whose options it takes, with the result kept among the measurements.
Recall@1 per hop: the share of the gold hops whose passage was the first one retrieved at that hop; a hop that the
model did not take counts as missed. The upper bound inserts the gold passage at every hop, whatever the search says.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import RESULTS
from benchmarks.report import result_name, write_result
from benchmarks.tiny import tiny_repository
from onegen_hf.cli.evaluate import evaluate
from onegen_hf.cli.evaluate_arguments import EvaluateArguments
from onegen_hf.evaluation import GroupResult, RunResult
from onegen_hf.pipelines import DEFAULT_CHECKPOINT
from onegen_hf.terminal.options import OptionParser

METRICS = {
    "recall@1": "recall@1_per_hop",
    "exact_match": "exact_match",
    "f1": "f1",
    "hop_count_accuracy": "hop_count_accuracy",
}
"""Name in the report → name in the result."""


@dataclass
class QualityArguments(EvaluateArguments):
    """
    Arguments of [`EvaluateArguments`] with other defaults, and one more.

    Args:
        name (`str`, *optional*, defaults to `"quality"`): Of the result file.
        quick (`bool`, *optional*, defaults to `False`): Two of the built-in questions, a few passages.
    """

    output_dir: str = field(default="outputs/quality", metadata={"help": "Index, answers and report; resumable."})
    batch_size: int = field(default=16, metadata={"help": "Questions decoded together."})
    gold_passages: bool = field(default=True, metadata={"help": "Also answer with the gold passages inserted."})
    name: str = field(default="quality", metadata={"help": "Name of the result file."})
    dataset: list[str] = field(default_factory=list, metadata={"help": "Dataset repository."})
    quick: bool = field(default=False, metadata={"help": "Two of the built-in questions, a few passages."})

    def __post_init__(self) -> None:
        if self.quick:
            self.output_dir, self.name = f"{self.output_dir}/quick", result_name(self.name, quick=True)
            self.limit, self.max_new_tokens = 2, 48
            self.dataset = [tiny_repository(Path(self.output_dir))]
            self.index = str(DEFAULT_CHECKPOINT / "index")
        super().__post_init__()


def by_type(run: RunResult) -> dict[str, dict[str, float]]:
    """The main scores over all questions and over those of each type."""
    return {name: summary(group) for name, group in {"all": run.all, **run.by_type}.items()}


def summary(group: GroupResult) -> dict[str, float]:
    """The number of questions and the main scores."""
    scores = {METRICS[name]: round(found.value, 4) for name, found in group.metrics.items() if name in METRICS}
    return {"questions": group.examples, **scores}


def main() -> None:
    """Run the measurement."""
    (options,) = OptionParser(QualityArguments, "python -m benchmarks.quality").parse(sys.argv[1:])
    start = time.perf_counter()
    report = evaluate(options)
    result = {
        "question": "How well does the checkpoint retrieve and answer?",
        "passages": report.settings["index"]["passages"],
        "dtype": report.settings["model"]["dtype"],
        **{name: by_type(run) for name, run in report.results.items()},
        "minutes": round((time.perf_counter() - start) / 60, 1),
    }
    write_result(RESULTS / f"{options.name}.json", result)


if __name__ == "__main__":
    main()
