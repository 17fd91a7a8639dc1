"""`SegmentSearch`: the candidates of one question, of which the best go on after each segment."""

from __future__ import annotations

from dataclasses import replace

from .row import Candidate, CritiqueRow, candidate_of, total_usage


class SegmentSearch:
    """
    Beam search over segments. A row rests when its segment has ended; once all rows of the question rest, the best
    `width` of them go on. Rows that have ended stay in the beam, and compete by the mean score of their segments.

    Args:
        root ([`CritiqueRow`]): Begins with the prompt.
        width (`int`): Beams.
    """

    def __init__(self, root: CritiqueRow, width: int) -> None:
        self.root = root
        self.width = width
        self.forward_calls = 0
        self.beams: list[CritiqueRow] = [root]
        self.candidates: list[Candidate] = []
        self._rows = [root]

    def replace(self, row: CritiqueRow, forks: list[CritiqueRow]) -> None:
        """Let forks of a row take its place."""
        place = next(n for n, beam in enumerate(self.beams) if beam is row)
        self.beams[place : place + 1] = forks
        self._rows += forks

    def select(self) -> None:
        """Choose which rows go on, if all of them rest."""
        if not all(row.rests for row in self.beams):
            return
        new = [row for row in self.beams if row.segments and not row.segments[-1].kept]
        ranked = sorted(self.beams, key=lambda row: -row.score)  # stable: among equals the better passage
        for row in ranked[self.width :]:
            row.stop_reason = row.stop_reason or "pruned"
        self.beams = ranked[: self.width]
        self.candidates += [candidate_of(row) for row in new]
        for row in self.beams:
            row.waiting = False
            if row.segments:
                row.segments[-1].kept = True

    def result(self) -> CritiqueRow:
        """The best row of a finished search, with all candidates and the usage of the whole search."""
        best = self.beams[0]
        for candidate in self.candidates:
            candidate.segment.kept = any(candidate.segment is segment for segment in best.segments)
        usage = total_usage(self.root.usage.prompt_tokens, self._rows, self.forward_calls)
        return replace(best, usage=usage, number=self.root.number, candidates=self.candidates)
