"""`CritiqueRow`: a row that may fork into candidates, and the segments that it has written."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from ..forked_row import ForkedRow
from ..state import Hit
from .scores import SegmentScore


@dataclass(eq=False)
class Segment:
    """
    What a row writes between two decisions on retrieval.

    Attributes:
        hit (`Hit`, *optional*): The passage that it was written after; `None` if nothing was retrieved.
        rank (`int`): Of the passage among those retrieved, 0 for the best.
        start (`int`): Position of its first token.
        first (`int`): Place of its first token among the row's generated tokens.
        tokens (`int`): Number of its tokens.
        relevance, support, utility (`tuple[float, ...]`, *optional*): Probabilities of the reflection tokens where
            they were judged; see [`score_segment`].
        contradicted (`bool`): Whether the model called it `[No support / Contradictory]`.
        score ([`SegmentScore`], *optional*): Once it has ended.
        kept (`bool`): Whether the search went on with it; in the end, whether it is part of the chosen text.
        left_out (`bool`): Whether it stays out of the answer, see `ignore_continue` of [`CritiqueSettings`].
    """

    hit: Hit | None
    rank: int
    start: int
    first: int
    tokens: int = 0
    relevance: tuple[float, ...] | None = None
    support: tuple[float, ...] | None = None
    utility: tuple[float, ...] | None = None
    contradicted: bool = False
    score: SegmentScore | None = None
    kept: bool = False
    left_out: bool = False


@dataclass(frozen=True)
class Candidate:
    """
    A segment that was weighed against others.

    Attributes:
        segment ([`Segment`]): Ended.
        depth (`int`): Segments before it in its answer.
        ids (`list[int]`): Its tokens.
        parent ([`Segment`], *optional*): The segment before it.
    """

    segment: Segment
    depth: int
    ids: list[int]
    parent: Segment | None = None


@dataclass(eq=False)
class CritiqueRow(ForkedRow):
    """
    A row of [`CritiqueDecoder`].

    Attributes:
        segments (`list[Segment]`): In order; the last one may still be written.
        candidates (`list[Candidate]`): Of a finished question: all segments that were weighed.
        answer_scores (`dict[str, float]`): Of a finished question with `closed_set`: see [`sum_by_answer`].
    """

    segments: list[Segment] = field(default_factory=list)
    candidates: list[Candidate] = field(default_factory=list, repr=False)
    answer_scores: dict[str, float] = field(default_factory=dict)

    @property
    def segment(self) -> Segment | None:
        """The segment that is being written."""
        return self.segments[-1] if self.segments and self.segments[-1].score is None else None

    @property
    def rests(self) -> bool:
        """Whether its last segment has ended and nothing more is written for now."""
        return self.waiting or (self.stop_reason is not None and self.segment is None)

    @property
    def score(self) -> float:
        """The mean of its segments' scores, so that beams of different lengths compare."""
        totals = [segment.score.total for segment in self.segments if segment.score is not None]
        return sum(totals) / len(totals) if totals else 0.0

    def begin(self, hit: Hit | None, rank: int, start: int) -> None:
        """Begin a segment at a position that the next generated token takes."""
        self.segments.append(Segment(hit, rank, start, self.usage.generated_tokens + start - len(self.ids)))

    def ids_of(self, segment: Segment) -> list[int]:
        """The tokens of one of its segments."""
        return self.ids[segment.start : segment.start + segment.tokens]

    def fork(self) -> CritiqueRow:
        """A row that has read and written the same."""
        return replace(super().fork(), segments=list(self.segments))


def candidate_of(row: CritiqueRow) -> Candidate:
    """The last segment of a row as a candidate."""
    *before, last = row.segments
    return Candidate(last, len(before), row.ids_of(last), before[-1] if before else None)
