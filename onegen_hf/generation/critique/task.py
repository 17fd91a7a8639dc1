"""`CritiqueTask`: what rows write when each passage gets a continuation of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ..decoder import OnePassDecoder
from ..memory import StepOutput
from ..reflection import ReflectionIds
from ..retrieval_task import RetrievalTask
from ..state import Hit, Retrieval, RowState
from .row import CritiqueRow
from .scores import score_segment
from .search import SegmentSearch
from .settings import CritiqueSettings


class CritiqueTask(RetrievalTask):
    """
    Rows fork where they retrieve: the keys and values of what was read so far are shared, and each passage is read by
    its own fork.

    Args:
        decoder ([`OnePassDecoder`])
        model ([`OneGenForCausalLM`])
        max_new_tokens (`int`): Of one answer.
        end_tokens (`Sequence[int]`)
        reflection ([`ReflectionIds`])
        settings ([`CritiqueSettings`])
    """

    def __init__(
        self,
        decoder: OnePassDecoder,
        model: Any,
        max_new_tokens: int,
        end_tokens: Sequence[int],
        reflection: ReflectionIds,
        settings: CritiqueSettings,
    ) -> None:
        super().__init__(decoder, model, max_new_tokens, end_tokens)
        self.reflection = reflection
        self.settings = settings
        self.searches: dict[int, SegmentSearch] = {}
        self._judges = [*reflection.relevance, *reflection.support, *reflection.utility]
        self._judgements: dict[int, list[float]] = {}
        self._forks: list[CritiqueRow] = []

    def admit(self, row: RowState) -> None:
        if isinstance(row, CritiqueRow) and row.number not in self.searches:
            self.searches[row.number] = SegmentSearch(row, self.settings)

    def beams(self, row: RowState) -> Sequence[RowState]:
        search = self.searches.get(row.number)
        return [row] if search is None else search.beams

    def insert(self, row: RowState, embedding: Tensor, hits: list[Hit]) -> None:
        """Fork the row, once per passage."""
        assert isinstance(row, CritiqueRow)
        hop, position, probability = len(row.retrievals), len(row.ids) - 1, row.query_probability
        self._forks = []
        for rank, hit in enumerate(hits or [None]):  # nothing found: one fork with an empty paragraph
            fork = row.fork()
            tokens = self.decoder.insertion(fork, [] if hit is None else [hit])
            tokens = self.policy.fit(fork, tokens, self.room(fork), self.decoder.paragraph_close)
            # The passage of the fork first: it is the one that was inserted.
            ranked = [] if hit is None else [hit, *hits[:rank], *hits[rank + 1 :]]
            fork.retrievals.append(Retrieval(hop, position, ranked, len(tokens), embedding, probability))
            fork.insert(tokens)
            fork.begin(hit, rank, len(fork.ids))
            self._forks.append(fork)
        row.stop_reason = "forked"
        self.searches[row.number].replace(row, self._forks)

    def forks(self, row: RowState) -> Sequence[RowState]:
        return self._forks

    def read(self, rows: Sequence[RowState], output: StepOutput) -> list[int]:
        for number in {row.number for row in rows}:
            self.searches[number].forward_calls += 1
        return [place for place in super().read(rows, output) if rows[place].stop_reason is None]

    def banned(self, rows: Sequence[RowState], logits: Tensor) -> list[list[int]]:
        # (rows, judges): exact, over the whole vocabulary
        probabilities = (logits[:, self._judges] - logits.logsumexp(dim=-1, keepdim=True)).exp()
        self._judgements = {id(row): values for row, values in zip(rows, probabilities.tolist(), strict=True)}
        return super().banned(rows, logits)

    def settle(self, row: RowState, token: int) -> int:
        assert isinstance(row, CritiqueRow)
        if row.segments and row.segment is None and not self._retrieves(row):
            row.begin(None, 0, len(row.ids))  # a beam goes on without retrieving
        decisions = len(row.decisions)
        if row.segment is not None and len(row.segments) >= self.settings.depth:
            row.retrieval_stopped = row.retrieval_stopped or "max_segments"  # a decision now ends the answer
        token = super().settle(row, token)
        decided = len(row.decisions) > decisions
        if decided and row.segment is not None:
            self._end_segment(row)
            row.waiting = True
        elif decided and token != self.reflection.retrieve and token != self.decoder.query_token:
            # An answer that begins without retrieving; a stated decision is not part of its text.
            states = token in (self.reflection.no_retrieve, self.reflection.continue_evidence)
            row.begin(None, 0, len(row.ids) + states)
        if row.segment is not None and row.segment.start <= len(row.ids):
            self._judge(row, token)
        return token

    def stop_reason(self, row: RowState, token: int) -> str | None:
        assert isinstance(row, CritiqueRow)
        reason = super().stop_reason(row, token)
        if reason is None and row.waiting and len(row.segments) >= self.settings.depth:
            reason = "max_segments"
        if reason is not None:
            row.waiting = False
        return reason

    def proceed(self, row: RowState) -> None:
        assert isinstance(row, CritiqueRow)
        super().proceed(row)
        if row.stop_reason is not None:
            row.waiting = False
            if row.segment is not None:
                self._end_segment(row)
        self.searches[row.number].select()

    def _retrieves(self, row: RowState) -> bool:
        """Whether a row has just written its decision to retrieve, or the query token."""
        return row.ids[-1] in (self.reflection.retrieve, self.decoder.query_token)

    def _judge(self, row: CritiqueRow, token: int) -> None:
        """Count a token of a segment, and keep what it says of the segment."""
        segment, judgements = row.segment, self._judgements[id(row)]
        assert segment is not None
        if segment.tokens == 0 and segment.hit is not None:
            segment.relevance = tuple(judgements[:2])
        if token in self.reflection.support and segment.support is None:
            segment.support = tuple(judgements[2:5])
            segment.contradicted = token == self.reflection.support[-1]
        if token in self.reflection.utility and segment.utility is None:
            segment.utility = tuple(judgements[5:])
        segment.tokens += 1

    def _end_segment(self, row: CritiqueRow) -> None:
        segment = row.segment
        assert segment is not None
        logs = row.log_probabilities[segment.first : segment.first + segment.tokens]
        segment.score = score_segment(
            [log for log in logs if log is not None],
            segment.relevance,
            segment.support,
            segment.utility,
            self.settings,
        )
