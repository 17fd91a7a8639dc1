"""Micro and macro precision, recall and F1 of entity linking within a knowledge base (InKB), as GERBIL has them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from .mentions import Mention, read_mention

Matching = Literal["strong", "weak"]


class LinkingCounts(NamedTuple):
    """True positives, false positives and false negatives of a document, or of several."""

    tp: int
    fp: int
    fn: int

    def rates(self) -> tuple[float, float, float]:
        """
        Precision, recall and F1. Where there was nothing to find and nothing was found, all are 1; where nothing was
        right otherwise, all are 0 (GERBIL's `FMeasureCalculator`).
        """
        if not self.tp:
            perfect = float(not self.fp and not self.fn)
            return perfect, perfect, perfect
        precision, recall = self.tp / (self.tp + self.fp), self.tp / (self.tp + self.fn)
        return precision, recall, 2 * precision * recall / (precision + recall)


def linking_counts(
    predictions: Sequence[Mention],
    gold: Sequence[Mention],
    matching: Matching = "strong",
    evaluation_span: tuple[int, int] | None = None,
) -> LinkingCounts:
    """
    Match the mentions of one document that are linked to the knowledge base.

    As in GERBIL, mentions without an entity (NIL) are left out on both sides, and each gold mention, in order, takes
    the first prediction of the same entity that is still free and whose span matches.

    Args:
        predictions (`Sequence[Mention]`)
        gold (`Sequence[Mention]`)
        matching (`str`, *optional*, defaults to `"strong"`): `"strong"`: the same span. `"weak"`: spans that share a
            character.
        evaluation_span (`tuple[int, int]`, *optional*): The part of the text that was annotated: an unmatched
            prediction that is not inside of it is no error (ELEVANT).

    Returns:
        `LinkingCounts`: Optional gold mentions (which GERBIL does not know) are no error if they are missed, and no
        credit if they are found, as in ELEVANT; they take what the others leave.

    Raises:
        `ValueError`: If `matching` is another one.
    """
    if matching not in ("strong", "weak"):
        raise ValueError(f"matching={matching!r} must be 'strong' or 'weak'")
    free = [mention for mention in predictions if mention.entity_id is not None]
    wanted = [mention for mention in gold if mention.entity_id is not None]
    tp = fn = 0
    for mention in sorted(wanted, key=lambda mention: mention.optional):
        found = next((n for n, other in enumerate(free) if _matches(mention, other, matching)), None)
        if found is not None:
            del free[found]
        if not mention.optional:
            tp, fn = (tp + 1, fn) if found is not None else (tp, fn + 1)
    if evaluation_span is not None:
        start, end = evaluation_span
        free = [mention for mention in free if start <= mention.start and mention.end <= end]
    return LinkingCounts(tp, len(free), fn)


def _matches(gold: Mention, other: Mention, matching: Matching) -> bool:
    if gold.entity_id != other.entity_id:
        return False
    if matching == "strong":
        return gold[:2] == other[:2]
    return gold.start < other.end and other.start < gold.end


def linking_scores(
    predictions: Sequence[Sequence[Any]],
    gold: Sequence[Any],
    matching: Matching = "strong",
    redirects: Mapping[str, str] | None = None,
    known_ids: Collection[str] | None = None,
) -> dict[str, float]:
    """
    InKB scores of the documents of one dataset.

    Args:
        predictions (`Sequence[Sequence]`): Mentions per document, in a layout of [`read_mention`].
        gold (`Sequence`): Mentions per document, or ELEVANT's documents with `labels` and `evaluation_span`.
        matching (`str`, *optional*, defaults to `"strong"`)
        redirects (`Mapping[str, str]`, *optional*): See [`read_mention`].
        known_ids (`Collection[str]`, *optional*): See [`read_mention`].

    Returns:
        `dict[str, float]`: `micro_precision`, `micro_recall`, `micro_f1` over all mentions; `macro_*`, the means over
        documents of each of the three (so `macro_f1` is not the F1 of the other two); `tp`, `fp`, `fn`.

    Raises:
        `ValueError`: If there is no document, the lengths differ, or a mention is malformed.
    """
    return summarize_counts(document_counts(predictions, gold, matching, redirects, known_ids))


def document_counts(
    predictions: Sequence[Sequence[Any]],
    gold: Sequence[Any],
    matching: Matching = "strong",
    redirects: Mapping[str, str] | None = None,
    known_ids: Collection[str] | None = None,
) -> list[LinkingCounts]:
    """The counts of each document, from which [`summarize_counts`] makes scores; arguments of [`linking_scores`]."""
    if len(predictions) != len(gold):
        raise ValueError(
            f"predictions has {len(predictions)} documents and gold {len(gold)}: give one list of mentions for each"
        )
    counts = []
    for found, document in zip(predictions, gold, strict=True):
        span, labels = None, document
        if isinstance(document, Mapping):
            labels, span = document["labels"], document.get("evaluation_span")
        counts.append(
            linking_counts(
                [read_mention(mention, redirects, known_ids) for mention in found],
                [read_mention(label, redirects, known_ids) for label in labels],
                matching,
                None if span is None else (span[0], span[1]),
            )
        )
    return counts


def summarize_counts(counts: Sequence[LinkingCounts]) -> dict[str, float]:
    """Micro and macro scores of documents' counts; see [`linking_scores`]."""
    if not counts:
        raise ValueError("there is no document to score")
    total = LinkingCounts(*(sum(column) for column in zip(*counts, strict=True)))
    rates = [document.rates() for document in counts]
    macro = [sum(column) / len(counts) for column in zip(*rates, strict=True)]
    names = ("precision", "recall", "f1")
    scores = {f"micro_{name}": value for name, value in zip(names, total.rates(), strict=True)}
    scores |= {f"macro_{name}": value for name, value in zip(names, macro, strict=True)}
    return {**scores, "tp": float(total.tp), "fp": float(total.fp), "fn": float(total.fn)}


def average_datasets(scores: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """
    Scores of several datasets as one flat report: each behind its name, and the plain means behind `average/`.

    Args:
        scores (`Mapping[str, Mapping[str, float]]`): Dataset → scores of [`linking_scores`].
    """
    if not scores:
        raise ValueError("scores is empty: there is no dataset to average")
    report = {f"{dataset}/{name}": value for dataset, own in scores.items() for name, value in own.items()}
    rates = [name for name in next(iter(scores.values())) if name.startswith(("micro_", "macro_"))]
    means = {f"average/{name}": sum(own[name] for own in scores.values()) / len(scores) for name in rates}
    return {**report, **means}
