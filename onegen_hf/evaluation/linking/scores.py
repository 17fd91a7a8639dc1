"""From linked mentions to the scores of entity linking: per data set, and averaged over data sets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ...linking.entities import choose
from ...metrics import document_counts, elevant_counts, mean_ratio_confidence_interval, ratio_confidence_interval
from ...metrics.entity_linking import LinkingCounts, linking_counts
from ...metrics.mentions import Mention
from ..report import Estimate, GroupResult, RunResult
from .documents import LinkingDocument
from .report import AVERAGE

CUTOFFS = (1, 5, 10, 20, 50, 100)
"""Ranks of `recall@`, up to the number of candidates; that number is one too."""

Ratios = dict[str, list[tuple[float, float]]]
"""Metric → numerator and denominator of each document."""


def with_prior_weight(mentions: Sequence[Mapping[str, Any]], prior_weight: float) -> list[dict[str, Any]]:
    """Mentions whose candidates are ranked by `similarity + prior_weight * prior`."""
    if not prior_weight:
        return [dict(mention) for mention in mentions]
    ranked = []
    for mention in mentions:
        scored = [{**c, "score": c["similarity"] + prior_weight * c["prior"]} for c in mention["candidates"]]
        ranked.append({**mention, "candidates": sorted(scored, key=lambda candidate: -candidate["score"])})
    return ranked


def final_mentions(
    mentions: Sequence[Mapping[str, Any]], threshold: float | None, prior_weight: float = 0.0
) -> list[dict[str, Any]]:
    """Mentions with the entity that prior and threshold make of their candidates."""
    ranked = with_prior_weight(mentions, prior_weight)
    return [{**mention, **choose(mention["candidates"], threshold)} for mention in ranked]


def linking_ratios(
    documents: Sequence[LinkingDocument],
    predictions: Sequence[Sequence[Mapping[str, Any]]],
    top_k: int,
    given: bool = False,
) -> Ratios:
    """
    Every score as a ratio of counts per document, from which totals and resamples are made.

    | metric | |
    |---|---|
    | `micro_precision`, `micro_recall`, `micro_f1` | InKB, strong matching, as GERBIL has it ([`document_counts`]) |
    | `elevant_f1` | as ELEVANT has it: nested labels count once ([`elevant_counts`]) |
    | `detection_*` | spans alone, those of gold mentions; a span whose label is left out is no error |
    | `disambiguation_accuracy` | of gold mentions whose span was found: the share with the right entity |
    | `recall@k` | of these: the share whose entity is among the best k candidates |

    Args:
        documents (`Sequence[LinkingDocument]`)
        predictions (`Sequence[Sequence[Mapping]]`): For each document its mentions, as the pipeline returns them.
        top_k (`int`): Candidates of a mention.
        given (`bool`, *optional*, defaults to `False`): Mentions were given, so their detection says nothing.
    """
    gold = [
        {"text": one.text, "labels": list(one.labels), "evaluation_span": one.evaluation_span} for one in documents
    ]
    linked = document_counts(predictions, gold)
    elevant = [elevant_counts(own, document) for own, document in zip(predictions, gold, strict=True)]
    ratios = _rates("micro", linked)
    ratios["elevant_f1"] = _rates("elevant", elevant)["elevant_f1"]
    ratios |= {} if given else detection_ratios(documents, predictions)
    cutoffs = [*(cutoff for cutoff in CUTOFFS if cutoff < top_k), top_k]
    ranks = [_ranks(one, own) for one, own in zip(documents, predictions, strict=True)]
    ratios["disambiguation_accuracy"] = [(sum(right for right, _ in own), len(own)) for own in ranks]
    for cutoff in cutoffs:
        ratios[f"recall@{cutoff}"] = [(sum(rank <= cutoff for _, rank in own), len(own)) for own in ranks]
    return ratios


def detection_ratios(
    documents: Sequence[LinkingDocument], predictions: Sequence[Sequence[Mapping[str, Any]]]
) -> Ratios:
    """The scores of spans alone; see [`linking_ratios`]."""
    return _rates("detection", [_detection(one, own) for one, own in zip(documents, predictions, strict=True)])


def linking_results(
    documents: Mapping[str, Sequence[LinkingDocument]],
    ratios: Mapping[str, Ratios],
    groups: Mapping[str, str],
    level: float,
    seed: int,
) -> dict[str, RunResult]:
    """
    The scores of each data set, micro-averaged, and their plain means over all and over each group of data sets.

    Intervals come from resampled documents, for a mean within each data set.

    Args:
        documents (`Mapping[str, Sequence[LinkingDocument]]`): By data set.
        ratios (`Mapping[str, Ratios]`): Likewise; see [`linking_ratios`].
        groups (`Mapping[str, str]`): Data set → group.
        level (`float`)
        seed (`int`)
    """
    single = {name: _dataset(documents[name], own, level, seed) for name, own in ratios.items()}
    averages = {AVERAGE: list(single)} if len(single) > 1 else {}
    for group in dict.fromkeys(groups.values()):
        averages[f"{AVERAGE} {group}"] = [name for name in single if groups.get(name) == group]
    means = {
        title: _average([single[name] for name in names], [ratios[name] for name in names], level, seed)
        for title, names in averages.items()
    }
    return {name: RunResult(result) for name, result in {**single, **means}.items()}


def threshold_sample(
    documents: Iterable[LinkingDocument], predictions: Iterable[Sequence[Mapping[str, Any]]]
) -> tuple[list[float], list[bool], int]:
    """
    What [`~onegen_hf.linking.threshold.fit_threshold`] takes: score and correctness of each mention that InKB scores,
    and the number of gold mentions.
    """
    scores: list[float] = []
    is_right: list[bool] = []
    num_gold = 0
    for document, own in zip(documents, predictions, strict=True):
        num_gold += linking_counts([], document.gold).fn
        for mention in own:
            best = choose(mention["candidates"])
            span = mention["start"], mention["end"]
            # Strong matching of spans that do not overlap: each mention is scored by itself.
            same = [label for label in document.gold if label[:2] == span]
            found = Mention(*span, best["entity_id"] if mention["candidates"] else None)
            tp, fp, _ = linking_counts([found], same, evaluation_span=document.evaluation_span)
            if tp or fp:
                scores.append(best["score"])
                is_right.append(bool(tp))
    return scores, is_right, num_gold


def prior_sample(
    documents: Iterable[LinkingDocument], predictions: Iterable[Sequence[Mapping[str, Any]]]
) -> tuple[list[Any], list[str]]:
    """What [`~onegen_hf.linking.prior_weight.fit_prior_weight`] takes: candidates and gold of the mentions found."""
    candidates: list[Any] = []
    gold: list[str] = []
    for document, own in zip(documents, predictions, strict=True):
        entities = {label[:2]: label.entity_id for label in document.gold}
        for mention in own:
            entity = entities.get((mention["start"], mention["end"]))
            if entity is not None:
                candidates.append(mention["candidates"])
                gold.append(entity)
    return candidates, gold


def _rates(prefix: str, counts: Sequence[LinkingCounts]) -> Ratios:
    return {
        f"{prefix}_precision": [(one.tp, one.tp + one.fp) for one in counts],
        f"{prefix}_recall": [(one.tp, one.tp + one.fn) for one in counts],
        f"{prefix}_f1": [(2 * one.tp, 2 * one.tp + one.fp + one.fn) for one in counts],
    }


def _dataset(documents: Sequence[LinkingDocument], ratios: Ratios, level: float, seed: int) -> GroupResult:
    metrics = {}
    for name, pairs in ratios.items():
        numerators, denominators = zip(*pairs, strict=True)
        interval = ratio_confidence_interval(numerators, denominators, level=level, seed=seed)
        metrics[name] = Estimate(_ratio(pairs), *interval)
    return GroupResult(len(documents), sum(len(one.gold) for one in documents), metrics)


def _average(results: Sequence[GroupResult], ratios: Sequence[Ratios], level: float, seed: int) -> GroupResult:
    metrics = {}
    for name in ratios[0]:
        samples: list[Any] = [tuple(zip(*own[name], strict=True)) for own in ratios]
        interval = mean_ratio_confidence_interval(samples, level=level, seed=seed)
        metrics[name] = Estimate(sum(_ratio(own[name]) for own in ratios) / len(ratios), *interval)
    return GroupResult(sum(one.examples for one in results), sum(one.hops for one in results), metrics)


def _ratio(pairs: Sequence[tuple[float, float]]) -> float:
    total = sum(denominator for _, denominator in pairs)
    return sum(numerator for numerator, _ in pairs) / total if total else 0.0


def _detection(document: LinkingDocument, predictions: Sequence[Mapping[str, Any]]) -> LinkingCounts:
    found = {(mention["start"], mention["end"]) for mention in predictions}
    wanted = {label[:2] for label in document.gold if not label.optional}
    labelled = {tuple(label["span"]) for label in document.labels}
    start, end = document.evaluation_span
    false = [span for span in found - labelled if start <= span[0] and span[1] <= end]
    return LinkingCounts(len(found & wanted), len(false), len(wanted - found))


def _ranks(document: LinkingDocument, predictions: Sequence[Mapping[str, Any]]) -> list[tuple[bool, float]]:
    """Of each gold mention whose span was found: whether it was linked rightly, and the rank of its entity."""
    by_span = {(mention["start"], mention["end"]): mention for mention in predictions}
    found = []
    for label in document.gold:
        mention = by_span.get(label[:2])
        if mention is not None and not label.optional:
            ids = [candidate["entity_id"] for candidate in mention["candidates"]]
            rank = ids.index(label.entity_id) + 1 if label.entity_id in ids else float("inf")
            found.append((mention["entity_id"] == label.entity_id, rank))
    return found
