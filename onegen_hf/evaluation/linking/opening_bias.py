"""`fit_opening_bias`: how readily mentions are opened, fitted on a development set together with the threshold."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...configuration import write_setting
from ...linking.threshold import write_threshold
from ...pipelines import OneGenEntityLinkingPipeline
from .evaluate import evaluate_entity_linking
from .report import AVERAGE, LinkingReport

BIASES = (-1.0, 0.0, 1.0, 2.0, 3.0)


@dataclass(frozen=True)
class OpeningBias:
    """
    A fitted bias.

    Attributes:
        bias (`float`)
        threshold (`float`): The NIL threshold that goes with it.
        reports (`dict[float, LinkingReport]`): Of every bias that was tried, with its own threshold.
    """

    bias: float
    threshold: float
    reports: dict[float, LinkingReport]

    @property
    def micro_f1(self) -> dict[float, float]:
        """Bias → mean micro-F1 of the data sets."""
        return {bias: _micro_f1(report) for bias, report in self.reports.items()}

    def write(self, checkpoint: str | os.PathLike[str]) -> None:
        """Store bias and threshold in a checkpoint, where the pipeline and later evaluations find them."""
        write_setting(checkpoint, "opening_bias", self.bias)
        write_threshold(checkpoint, self.threshold)


def fit_opening_bias(
    linker: OneGenEntityLinkingPipeline,
    datasets: Mapping[str, Iterable[Mapping[str, Any]]],
    output_dir: str | os.PathLike[str] | None = None,
    biases: Sequence[float] = BIASES,
    call_options: Mapping[str, Any] | None = None,
    **options: Any,
) -> OpeningBias:
    """
    Link development texts with every bias, and take the one with the best mean micro-F1, each with its best threshold.

    The model's logits are a matter of its training data, which label more or fewer mentions than the texts at hand: a
    bias makes up for the difference with one number. More mentions need a higher threshold, so that both are fitted
    together.

    Args:
        linker ([`OneGenEntityLinkingPipeline`])
        datasets (`Mapping[str, Iterable[Mapping]]`): Development data, see [`evaluate_entity_linking`].
        output_dir (`str` or path, *optional*): Receives a folder for every bias.
        biases (`Sequence[float]`, *optional*, defaults to `(-1.0, 0.0, 1.0, 2.0, 3.0)`): Of equally good ones, the
            first is taken.
        call_options (`Mapping[str, Any]`, *optional*): Further call arguments of the pipeline.
        options: Further arguments of [`evaluate_entity_linking`], such as `batch_size`.

    Returns:
        [`OpeningBias`]

    Raises:
        `ValueError`: If `biases` is empty, or as [`evaluate_entity_linking`] does.
    """
    if not biases:
        raise ValueError("biases is empty: give at least one, such as 0.0")
    rows = {name: list(own) for name, own in datasets.items()}
    reports = {}
    for bias in map(float, biases):
        reports[bias] = evaluate_entity_linking(
            linker,
            rows,
            None if output_dir is None else Path(output_dir) / f"opening_bias_{bias:g}",
            fit_threshold=True,
            call_options={**(call_options or {}), "opening_bias": bias},
            **options,
        )
    best = max(reports, key=lambda bias: _micro_f1(reports[bias]))
    return OpeningBias(best, reports[best].scoring["threshold"], reports)


def _micro_f1(report: LinkingReport) -> float:
    name = AVERAGE if AVERAGE in report.results else report.datasets[0]
    return report.results[name].all.metrics["micro_f1"].value
