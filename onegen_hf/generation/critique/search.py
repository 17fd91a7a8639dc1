"""`SegmentSearch`: the candidates of one question, of which the best go on after each segment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ..forked_row import total_usage
from .answers import sum_by_answer
from .row import Candidate, CritiqueRow, candidate_of
from .settings import CritiqueSettings


class SegmentSearch:
    """
    Beam search over segments. A row rests when its segment has ended; once all rows of the question rest, the best
    `width` of them go on. Rows that have ended stay in the beam, and compete by the mean score of their segments.

    Args:
        root ([`CritiqueRow`]): Begins with the prompt.
        settings ([`CritiqueSettings`])
    """

    def __init__(self, root: CritiqueRow, settings: CritiqueSettings) -> None:
        self.root = root
        self.settings = settings
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
        for row in ranked[self.settings.width :]:
            row.stop_reason = row.stop_reason or "pruned"
        self.beams = ranked[: self.settings.width]
        self.candidates += [candidate_of(row) for row in new]
        for row in self.beams:
            row.waiting = False
            if row.segments:
                row.segments[-1].kept = True

    def result(self, text_of: Callable[[list[int]], str]) -> CritiqueRow:
        """
        The chosen row of a finished search, with all candidates and the usage of the whole search.

        Args:
            text_of (`Callable`): Token ids → text without control tokens.
        """
        best, sums = self.beams[0], dict[str, float]()
        ended = [row for row in self._rows if row.segments and row.stop_reason != "forked"]
        if self.settings.closed_set and ended:
            best, sums = sum_by_answer(ended, text_of)
        for candidate in self.candidates:
            candidate.segment.kept = any(candidate.segment is segment for segment in best.segments)
        for segment in best.segments:
            segment.left_out = self.settings.ignore_continue and segment.contradicted
        usage = total_usage(self.root.usage.prompt_tokens, self._rows, self.forward_calls)
        return replace(best, usage=usage, candidates=self.candidates, answer_scores=sums)
