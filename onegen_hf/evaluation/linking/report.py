"""`LinkingReport`: the scores of entity linking on several data sets, and their averages."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from huggingface_hub import EvalResult

from ..report import EvaluationReport

AVERAGE = "average"
"""Name of the mean over all data sets; that over a group is `average GROUP`."""


@dataclass(frozen=True)
class LinkingReport(EvaluationReport):
    """
    An [`EvaluationReport`] of entity linking, whose `results` are those of each data set and of their averages.

    Attributes:
        groups (`dict[str, str]`): Data set → group, such as `"in-domain"`.
        scoring (`dict[str, Any]`): What was done to the candidates: `threshold`, `prior_weight`, and which of them
            were `fitted` on these data sets.
        left_out (`dict[str, dict[str, int]]`): Data set → reason → labels that are not scored for it.
    """

    groups: dict[str, str] = field(default_factory=dict)
    scoring: dict[str, Any] = field(default_factory=dict)
    left_out: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def datasets(self) -> list[str]:
        """The names of the data sets."""
        return list(self.left_out)

    def eval_results(self) -> list[EvalResult]:
        """See [`~EvaluationReport.eval_results`]: the scores of each data set; averages are no data set's."""
        arguments = {"mode": self.settings["mode"], **self.scoring}
        return [
            EvalResult(
                task_type="token-classification",
                task_name="Entity linking",
                dataset_type=name,
                dataset_name=name,
                dataset_args={"documents": self.results[name].all.examples, **arguments},
                metric_type=metric,
                metric_value=round(estimate.value, 4),
                metric_args={
                    "confidence_interval": [round(estimate.low, 4), round(estimate.high, 4)],
                    "level": self.level,
                },
            )
            for name in self.datasets
            for metric, estimate in self.results[name].all.metrics.items()
        ]
