"""What HotpotQA's and 2WikiMultihopQA's evaluations share: parts that are scored alone and jointly."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import prod
from typing import Any

from .answers import Overlap

Part = tuple[float, Overlap]
"""Exact match, and F1 with precision and recall, of one part of a prediction."""


def part_scores(prefix: str, part: Part) -> dict[str, float]:
    """The four scores of a part under the official names: `em`, `f1`, `prec`, `recall` behind `prefix`."""
    exact, overlap = part
    values = {"em": exact, "f1": overlap.f1, "prec": overlap.precision, "recall": overlap.recall}
    return {f"{prefix}{name}": value for name, value in values.items()}


def joint_part(parts: Sequence[Part]) -> Part:
    """The product of exact matches, precisions and recalls, with the F1 of the two latter."""
    precision, recall = prod(part[1].precision for part in parts), prod(part[1].recall for part in parts)
    return prod(part[0] for part in parts), Overlap.of_rates(precision, recall)


def combine_parts(parts: Mapping[str, Part | None]) -> dict[str, float]:
    """
    Scores of one example: each part under its prefix, and `joint_*`.

    Args:
        parts (`Mapping[str, Part | None]`): Prefix → scores, `None` for a part that was not predicted. It counts 0,
            and so does the joint score.
    """
    nothing: Part = (0.0, Overlap(0.0, 0.0, 0.0))
    found = [part for part in parts.values() if part is not None]
    joint = joint_part(found) if len(found) == len(parts) else nothing
    scores: dict[str, float] = {}
    for prefix, part in parts.items():
        scores |= part_scores(prefix, part or nothing)
    return {**scores, **part_scores("joint_", joint)}


def mean_scores(scores: Iterable[Mapping[str, float]], what: str) -> dict[str, float]:
    """
    The mean of every score over all examples.

    Raises:
        `ValueError`: If there is no example; the message names `what` is empty.
    """
    rows = list(scores)
    if not rows:
        raise ValueError(f"{what} is empty: there is nothing to score")
    return {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}


def record_id(record: Mapping[str, Any]) -> str:
    """
    The id of a dataset record, `_id` in the original files and `id` on the Hub.

    Raises:
        `ValueError`: If it has none.
    """
    for name in ("_id", "id"):
        if record.get(name) is not None:
            return str(record[name])
    raise ValueError(f"a gold record has no `_id` or `id`; its fields are {sorted(record)}")


def check_predictions(predictions: Mapping[str, Any], parts: Sequence[str]) -> None:
    """
    Raises:
        `ValueError`: If `predictions` is not laid out as the official prediction files: part → id → prediction.
    """
    wrong = [part for part in parts if not isinstance(predictions.get(part), Mapping)]
    if wrong:
        raise ValueError(
            f"predictions must map each of {list(parts)} to a mapping of ids, as the official prediction file does; "
            f"{wrong[0]!r} is {'missing' if wrong[0] not in predictions else 'something else'}. Give an empty one for "
            "a part that was not predicted."
        )
