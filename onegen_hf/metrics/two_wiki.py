"""2WikiMultihopQA: answers with aliases, supporting facts, evidence triples, and all three jointly."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import product
from typing import Any

from .answers import Overlap, answer_overlap, check_answers, exact_match
from .multi_hop_scores import Part, check_predictions, combine_parts, mean_scores, record_id
from .normalization import normalize_text
from .supporting_facts import fact_scores, read_supporting_facts

Aliases = Mapping[str, Collection[str]]
"""Wikidata id → other names."""


def read_aliases(records: Iterable[Mapping[str, Any]]) -> dict[str, set[str]]:
    """
    The aliases of the dataset's `id_aliases.json`, whose lines are `{"Q_id", "aliases", "demonyms"}`.

    Demonyms count as aliases.
    """
    return {record["Q_id"]: {*record["aliases"], *record.get("demonyms", ())} for record in records}


def answer_part(prediction: str, answers: Collection[str]) -> Part:
    """The best exact match, F1, precision and recall over all answers, each on its own."""
    check_answers(prediction, list(answers))
    overlaps = [answer_overlap(prediction, answer) for answer in answers]
    best = Overlap(*(max(values) for values in zip(*overlaps, strict=True)))
    return exact_match(prediction, list(answers)), best


def supporting_fact_part(prediction: Any, gold: Any) -> Part:
    """Supporting facts whose titles may differ in case; facts that differ only in that stay two."""
    sides = [
        [(title.lower(), number) for title, number in set(read_supporting_facts(side))] for side in (prediction, gold)
    ]
    return fact_scores(*sides)


def evidence_part(prediction: Iterable[Sequence[str]], gold: Sequence[Collection[Sequence[str]]]) -> Part:
    """
    Evidence triples (subject, relation, object), normalised but with their articles.

    Args:
        prediction (`Iterable[Sequence[str]]`): Triples.
        gold (`Sequence[Collection[Sequence[str]]]`): For each gold triple, its forms: one per pair of aliases.

    Returns:
        `Part`: As officially, every predicted triple that is a form of some gold triple is a hit, so two aliases of
        one gold triple are two hits, and recall can exceed 1.
    """
    found = {_normalize_triple(triple) for triple in prediction}
    forms = [{_normalize_triple(triple) for triple in group} for group in gold]
    hits = sum(any(triple in group for group in forms) for triple in found)
    exact = float(hits == len(found) == len(forms))
    return exact, Overlap.of_rates(hits / len(found) if found else 0.0, hits / len(forms) if forms else 0.0)


def two_wiki_example_scores(
    prediction: str | None,
    supporting_facts: Any,
    evidences: Iterable[Sequence[str]] | None,
    gold: Mapping[str, Any],
    aliases: Aliases | None = None,
) -> dict[str, float]:
    """
    Scores of one question (`2wikimultihop_evaluate_v1.1.py`).

    Args:
        prediction (`str`, *optional*): `None` if there is none; it and the joint scores are then 0.
        supporting_facts (`Sequence` or `Mapping`, *optional*): In a layout of [`read_supporting_facts`].
        evidences (`Iterable[Sequence[str]]`, *optional*): Triples (subject, relation, object).
        gold (`Mapping`): The record: `answer`, `supporting_facts`, `evidences`, and for aliases `answer_id` and
            `evidences_id`.
        aliases (`Mapping[str, Collection[str]]`, *optional*): From [`read_aliases`]; without it only the names in the
            record count.

    Returns:
        `dict[str, float]`: `em`, `f1`, `prec`, `recall`, the same with `sp_`, `evi_` and `joint_`.

    Raises:
        `ValueError`: If the record's `evidences_id` do not fit its `evidences`.
    """
    aliases = aliases or {}
    parts: dict[str, Part | None] = {"": None, "sp_": None, "evi_": None}
    if prediction is not None:
        parts[""] = answer_part(prediction, {gold["answer"], *aliases.get(gold.get("answer_id") or "", ())})
    if supporting_facts is not None:
        parts["sp_"] = supporting_fact_part(supporting_facts, gold["supporting_facts"])
    if evidences is not None:
        parts["evi_"] = evidence_part(evidences, gold_evidence_forms(gold, aliases))
    return combine_parts(parts)


def gold_evidence_forms(gold: Mapping[str, Any], aliases: Aliases) -> list[list[tuple[str, str, str]]]:
    """Every gold triple in all its forms: each name of the subject with each name of the object."""
    triples, ids = gold["evidences"], gold.get("evidences_id") or []
    if ids and len(ids) != len(triples):
        raise ValueError(
            f"gold record {gold.get('_id')!r} has {len(triples)} evidences and {len(ids)} evidences_id: give one id "
            "triple per evidence, or none at all"
        )
    forms = []
    for number, (subject, relation, entity) in enumerate(triples):
        subject_id, _, entity_id = ids[number] if ids else ("", "", "")
        subjects = {subject, *aliases.get(subject_id, ())}
        entities = {entity, *aliases.get(entity_id, ())}
        forms.append([(first, relation, last) for first, last in product(subjects, entities)])
    return forms


def two_wiki_scores(
    predictions: Mapping[str, Any], gold: Sequence[Mapping[str, Any]], aliases: Aliases | None = None
) -> dict[str, float]:
    """
    2WikiMultihopQA's official scores from a prediction file, a gold file and the aliases.

    Args:
        predictions (`Mapping`): `{"answer": {id: text}, "sp": {id: [[title, sentence], ...]}, "evidence": {id:
            [[subject, relation, object], ...]}}`.
        gold (`Sequence[Mapping]`): The dataset's records. Every score is divided by their number.
        aliases (`Mapping[str, Collection[str]]`, *optional*): From [`read_aliases`].

    Returns:
        `dict[str, float]`: The sixteen scores of [`two_wiki_example_scores`], means from 0 to 1. The official script
        prints percentages, rounded to two digits.

    Raises:
        `ValueError`: If `gold` is empty, a record is faulty or `predictions` has another layout.
    """
    check_predictions(predictions, ("answer", "sp", "evidence"))
    return mean_scores(
        (
            two_wiki_example_scores(
                predictions["answer"].get(record_id(record)),
                predictions["sp"].get(record_id(record)),
                predictions["evidence"].get(record_id(record)),
                record,
                aliases,
            )
            for record in gold
        ),
        "gold",
    )


def _normalize_triple(triple: Sequence[str]) -> tuple[str, ...]:
    return tuple(normalize_text(name) for name in triple)
