"""What critique adds to a result: all candidates with the parts of their scores, and the segments of the answer."""

from __future__ import annotations

from typing import Any

from ..data.attribute_dict import AttributeDict
from ..generation.critique import Candidate, CritiqueRow, Segment
from ..index.retrieved_passage import RetrievedPassage


class CandidateResult(AttributeDict):
    """
    A segment that was weighed against others.

    Attributes:
        depth (`int`): Segments before it; 0 for the first.
        passage (`RetrievedPassage`, *optional*): What it was written after; `None` if nothing was retrieved.
        rank (`int`): Of the passage among those retrieved, 0 for the best.
        text (`str`): With its reflection tokens.
        score (`float`): Its total; the other numbers are its parts, see [`SegmentScore`].
        probability, relevance, support, utility (`float`): `None` where the model did not judge.
        chosen (`bool`): Whether it is part of the answer.
    """

    depth: int
    passage: RetrievedPassage | None
    rank: int
    text: str
    score: float
    probability: float
    relevance: float | None
    support: float | None
    utility: float | None
    chosen: bool


class SegmentResult(AttributeDict):
    """
    A segment of an answer, with the passage that it cites.

    Attributes:
        text (`str`): Without reflection tokens.
        passage_id (`str`, *optional*): Of the passage that it was written after.
        score (`float`)
        left_out (`bool`): Whether `ignore_continue` keeps it out of the answer.
    """

    text: str
    passage_id: str | None
    score: float
    left_out: bool


def critique_of(row: CritiqueRow, describer: Any) -> dict[str, Any]:
    """
    The items that critique adds to a result.

    Args:
        row ([`CritiqueRow`]): The chosen one, with its candidates.
        describer ([`RowDescriber`])
    """
    items: dict[str, Any] = {
        "score": row.score,
        "segments": [_segment(row, segment, describer) for segment in row.segments if segment.score is not None],
        "candidates": [_candidate(candidate, describer) for candidate in row.candidates],
    }
    if row.answer_scores:
        items["answer_scores"] = dict(row.answer_scores)
    return items


def _segment(row: CritiqueRow, segment: Segment, describer: Any) -> SegmentResult:
    assert segment.score is not None
    return SegmentResult(
        text=describer.plain_text(row.ids_of(segment)).strip(),
        passage_id=None if segment.hit is None else segment.hit.passage.id,
        score=segment.score.total,
        left_out=segment.left_out,
    )


def _candidate(candidate: Candidate, describer: Any) -> CandidateResult:
    segment = candidate.segment
    score, hit = segment.score, segment.hit
    assert score is not None
    return CandidateResult(
        depth=candidate.depth,
        passage=None if hit is None else RetrievedPassage.of(hit.passage, hit.score),
        rank=segment.rank,
        text=describer.text(candidate.ids),
        score=score.total,
        probability=score.probability,
        relevance=score.relevance,
        support=score.support,
        utility=score.utility,
        chosen=segment.kept,
    )
