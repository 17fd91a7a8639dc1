"""`sum_by_answer`: scores added up per answer, for questions whose answers are a closed set of labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .row import CritiqueRow


def sum_by_answer(
    rows: Sequence[CritiqueRow], text_of: Callable[[list[int]], str]
) -> tuple[CritiqueRow, dict[str, float]]:
    """
    Add up the scores of candidates that give the same answer.

    Args:
        rows (`Sequence[CritiqueRow]`): At least one, each with one segment.
        text_of (`Callable`): Token ids → text without control tokens.

    Returns:
        `tuple`: The best candidate of the answer with the highest sum, and all answers with their sums, best first.
    """
    sums: dict[str, float] = {}
    best: dict[str, CritiqueRow] = {}
    for row in rows:
        answer = " ".join(text_of(row.ids_of(row.segments[-1])).split())
        sums[answer] = sums.get(answer, 0.0) + row.score
        if answer not in best or row.score > best[answer].score:
            best[answer] = row
    ranked = dict(sorted(sums.items(), key=lambda item: -item[1]))
    return best[next(iter(ranked))], ranked
