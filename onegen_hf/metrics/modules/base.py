"""What the metric classes share: how they describe themselves, and how they keep records of any layout."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import evaluate
from datasets import Features, Value


class DescribedMetric(evaluate.Metric):
    """
    A metric whose description stands in its class: the docstring, `citation`, `inputs_description` and `features`.
    """

    citation: ClassVar[str]
    inputs_description: ClassVar[str]
    input_features: ClassVar[Features]

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=(type(self).__doc__ or "").strip(),
            citation=self.citation,
            inputs_description=self.inputs_description,
            features=self.input_features,
        )


class RecordMetric(DescribedMetric):
    """
    A metric of records whose public layouts fit no Arrow type: pairs of text and number, parts that may be missing.

    Each record is kept as JSON until the scores are computed.
    """

    input_features: ClassVar[Features] = Features({"predictions": Value("string"), "references": Value("string")})
    compute_records: Callable[..., dict[str, float]]
    """The scores of all predictions and references, with the options of `compute`: what a subclass defines."""

    def add_batch(
        self, *, predictions: Sequence[Any] | None = None, references: Sequence[Any] | None = None, **kwargs: Any
    ) -> None:
        """Add predictions and references, one of each per example."""
        super().add_batch(predictions=_as_json(predictions), references=_as_json(references), **kwargs)

    def add(self, *, prediction: Any = None, reference: Any = None, **kwargs: Any) -> None:
        """Add one prediction and its reference."""
        self.add_batch(predictions=[prediction], references=[reference], **kwargs)

    def _compute(self, predictions: list[str], references: list[str], **options: Any) -> dict[str, float]:
        return self.compute_records(list(map(json.loads, predictions)), list(map(json.loads, references)), **options)


def _as_json(records: Sequence[Any] | None) -> list[str] | None:
    return None if records is None else [json.dumps(record) for record in records]
