"""`EvaluationReport`: scores with confidence intervals, overall, by type of question and by hop."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import yaml
from huggingface_hub import EvalResult
from huggingface_hub.repocard_data import eval_results_to_model_index

from ..metrics import ratio_confidence_interval
from .scoring import ExampleScores

TASK_TYPES = {"rag": "text-generation", "retrieval": "text-retrieval"}
"""Task → its name on the Hub."""
COSTS = ("retrieval_frequency", "hops", "forwarded_tokens")
"""What answers cost: reported beside their scores, but no scores themselves."""
GOLD = "gold_passages"
"""Name of the run with gold passages."""
_DATASET_ARGS = ("k", "max_hops", "max_new_tokens")


@dataclass(frozen=True)
class Estimate:
    """A score with the bounds of its bootstrap confidence interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class GroupResult:
    """
    The scores of some examples.

    Attributes:
        examples (`int`)
        hops (`int`): Gold hops with positives, over which retrieval is averaged. For entity linking, gold mentions.
        metrics (`dict[str, Estimate]`): Answer metrics are means over the examples that have the metric.
    """

    examples: int
    hops: int
    metrics: dict[str, Estimate]


@dataclass(frozen=True)
class RunResult:
    """
    The scores of a run.

    Attributes:
        all (`GroupResult`)
        by_type (`dict[str, GroupResult]`): By type of question, if the examples name it.
        by_hop (`dict[str, GroupResult]`): Retrieval at the first hop (`"1"`), the second, ...
    """

    all: GroupResult
    by_type: dict[str, GroupResult] = field(default_factory=dict)
    by_hop: dict[str, GroupResult] = field(default_factory=dict)

    @classmethod
    def of(cls, scores: Iterable[ExampleScores], level: float = 0.95, seed: int = 0) -> RunResult:
        """
        Summarise the scores of all examples.

        Args:
            scores (`Iterable[ExampleScores]`)
            level (`float`, *optional*, defaults to 0.95): Level of the confidence intervals. Examples are resampled,
                so the hops of an example stay together.
            seed (`int`, *optional*, defaults to 0)
        """
        rows = list(scores)
        groups = sorted({row.group for row in rows if row.group is not None})
        hops = sorted({hop for row in rows for hop in row.hops})
        return cls(
            _summarize(rows, level, seed),
            {group: _summarize([row for row in rows if row.group == group], level, seed) for group in groups},
            {
                str(hop + 1): _summarize([row.at_hop(hop) for row in rows if hop in row.hops], level, seed)
                for hop in hops
            },
        )


@dataclass(frozen=True)
class EvaluationReport:
    """
    The result of an evaluation. It contains no times, so an interrupted evaluation ends with the same report.

    Attributes:
        task (`str`): `"rag"`, `"retrieval"` or `"entity-linking"`.
        model (`str`): Name of the model.
        dataset (`str`): Name of the data.
        split (`str`, *optional*)
        level (`float`): Level of the confidence intervals.
        settings (`dict[str, Any]`): What the results depend on: `k`, dtype, checksums of weights and examples, ...
        results (`dict[str, RunResult]`): `"retrieved"`, and `"gold_passages"` for the upper bound.
    """

    task: str
    model: str
    dataset: str
    split: str | None
    level: float
    settings: dict[str, Any]
    results: dict[str, RunResult]

    def to_dict(self) -> dict[str, Any]:
        """A JSON-serialisable form."""
        return asdict(self)

    def to_json(self) -> str:
        """The content of `report.json`."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n"

    def eval_results(self) -> list[EvalResult]:
        """
        The overall scores for a model card: `card.data.eval_results = report.eval_results()`.

        Returns:
            `list[huggingface_hub.EvalResult]`: Metrics of the upper bound end in `_with_gold_passages`.
        """
        arguments = {name: self.settings[name] for name in _DATASET_ARGS if name in self.settings}
        return [
            EvalResult(
                task_type=TASK_TYPES[self.task],
                dataset_type=self.dataset,
                dataset_name=self.dataset,
                dataset_config="examples",
                dataset_split=self.split,
                dataset_args={"examples": run.all.examples, **arguments},
                metric_type=f"{metric}_with_gold_passages" if name == GOLD else metric,
                metric_value=round(estimate.value, 4),
            )
            for name, run in self.results.items()
            for metric, estimate in run.all.metrics.items()
            if metric not in COSTS
        ]

    def model_index(self) -> str:
        """The `model-index` entry of a model card's front matter, as YAML."""
        entry = eval_results_to_model_index(self.model.rpartition("/")[2], self.eval_results())
        return yaml.safe_dump({"model-index": entry}, sort_keys=False, allow_unicode=True)


def _summarize(rows: Sequence[ExampleScores], level: float, seed: int) -> GroupResult:
    names = dict.fromkeys(name for row in rows for scores in row.hops.values() for name in scores)
    metrics = {}
    for name in names:
        sums = [sum(scores[name] for scores in row.hops.values()) for row in rows]
        metrics[name] = _estimate(sums, [len(row.hops) for row in rows], level, seed)
    for name in dict.fromkeys(name for row in rows for name in row.answer):
        having = [row.answer[name] for row in rows if name in row.answer]
        metrics[name] = _estimate(having, [1] * len(having), level, seed)
    return GroupResult(len(rows), sum(len(row.hops) for row in rows), metrics)


def _estimate(sums: Sequence[float], counts: Sequence[int], level: float, seed: int) -> Estimate:
    return Estimate(sum(sums) / sum(counts), *ratio_confidence_interval(sums, counts, level=level, seed=seed))
