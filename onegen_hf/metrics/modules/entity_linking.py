"""Entity linking as `evaluate.Metric` classes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ..elevant import elevant_counts
from ..entity_linking import LinkingCounts, Matching, average_datasets, document_counts, summarize_counts
from .base import RecordMetric

_OPTIONS = """    redirects (`Mapping[str, str]`, *optional*): Id to the id that it stands for now.
    known_ids (`Collection[str]`, *optional*): The ids of the knowledge base; others are left out on both sides.
    datasets (`list[str]`, *optional*): The dataset of each document: the scores are then given for each one, behind
        its name, and averaged behind `average/`.
"""


class EntityLinkingMetric(RecordMetric):
    """
    GERBIL's InKB scores: micro and macro (over documents) `precision`, `recall` and `f1`, from 0 to 1, and `tp`, `fp`,
    `fn`, by the same span and entity (strong) or an overlapping span and the same entity (weak).

    Example:

    ```python
    >>> EntityLinkingMetric().compute(predictions=[[[0, 4, "Q1"]]], references=[[[0, 4, "Q1"]]])["micro_f1"]
    1.0
    ```
    """

    citation = "Röder et al., GERBIL: Benchmarking Named Entity Recognition and Linking Consistently, SWJ 9(5), 2018"
    inputs_description = f"""
Args:
    predictions (`list[list]`): Mentions per document: `[start, end, entity_id]` or a mapping, see `read_mention`.
    references (`list`): Mentions per document, or ELEVANT's documents with `labels` and `evaluation_span`.
    matching (`str`, *optional*, defaults to `"strong"`): Or `"weak"`.
{_OPTIONS}"""

    def compute_records(
        self,
        predictions: list[Any],
        references: list[Any],
        matching: Matching = "strong",
        redirects: Mapping[str, str] | None = None,
        known_ids: Collection[str] | None = None,
        datasets: Sequence[str] | None = None,
    ) -> dict[str, float]:
        """Scores of [`document_counts`]."""
        return summarize_by_dataset(document_counts(predictions, references, matching, redirects, known_ids), datasets)


class ElevantMetric(RecordMetric):
    """
    ELEVANT's scores in its InKB mode, with nested and optional labels and spans compared at word boundaries. Its own
    score is the micro one; the names are those of [`EntityLinkingMetric`].
    """

    citation = "Bast et al., ELEVANT: A Fully Automatic Fine-Grained Entity Linking Evaluation Tool, EMNLP 2022"
    inputs_description = f"""
Args:
    predictions (`list[list]`): Mentions per document: `[start, end, entity_id]` or a mapping, see `read_mention`.
    references (`list[dict]`): ELEVANT's documents: `text`, `labels`, `evaluation_span`.
{_OPTIONS}"""

    def compute_records(
        self,
        predictions: list[Any],
        references: list[Any],
        redirects: Mapping[str, str] | None = None,
        known_ids: Collection[str] | None = None,
        datasets: Sequence[str] | None = None,
    ) -> dict[str, float]:
        """Scores of [`elevant_counts`]."""
        pairs = zip(predictions, references, strict=True)
        return summarize_by_dataset(
            [elevant_counts(found, document, redirects, known_ids) for found, document in pairs], datasets
        )


def summarize_by_dataset(counts: Sequence[LinkingCounts], datasets: Sequence[str] | None) -> dict[str, float]:
    """
    Scores over all documents, or per dataset and averaged.

    Raises:
        `ValueError`: If `datasets` does not name one per document.
    """
    if datasets is None:
        return summarize_counts(counts)
    if len(datasets) != len(counts):
        raise ValueError(f"datasets has {len(datasets)} names for {len(counts)} documents: give one per document")
    groups: dict[str, list[LinkingCounts]] = {}
    for name, document in zip(datasets, counts, strict=True):
        groups.setdefault(name, []).append(document)
    return average_datasets({name: summarize_counts(group) for name, group in groups.items()})
