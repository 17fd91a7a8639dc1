"""`ReadingTask`: what was found is read with few sentences and with more, and the surest answer stays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from torch import Tensor

from .forked_row import ForkedRow, total_usage
from .memory import StepOutput
from .retrieval_task import Inserting, RetrievalTask
from .state import Hit, RowState

DROPPED = "dropped"
"""Why a reading ended whose answer does not count."""


@dataclass(eq=False)
class Reading(ForkedRow):
    """
    The row of a prompt, or one of the readings of what it has found.

    Attributes:
        place (`int`): Which of the decoder's numbers of sentences it inserts, 0 for the most.
        root ([`Reading`], *optional*): The row of the prompt, of a reading.
        readings (`list[Reading]`): Of a row that waits for them.
    """

    place: int = 0
    root: Reading | None = field(default=None, repr=False)
    readings: list[Reading] = field(default_factory=list, repr=False)


class Weighing(Inserting, Protocol):
    """What the task asks of a [`OnePassDecoder`]."""

    @property
    def sentence_counts(self) -> list[int | None]:
        """Sentences that each reading inserts."""

    def confidence(self, row: RowState) -> float | None:
        """How probable the answer of a row is."""


class ReadingTask(RetrievalTask):
    """
    Where a row has found passages, readings of them go on from what it has read so far, each to its own end, and the
    row waits. Then it takes over what the reading with the most probable answer has read and written. A passage of so
    few sentences that all readings are equal is read once.

    Answers compete, and not what leads to them: if the reading with the most sentences asks for another passage, it
    goes on alone, and if one with fewer does, that one ends.

    A small model is often led astray by sentences that it does not need, and misses what it needs in fewer; where it
    does, it tends to be less sure.
    """

    decoder: Weighing

    def beams(self, row: RowState) -> Sequence[RowState]:
        return [row, *row.readings] if isinstance(row, Reading) else [row]

    def tells(self, row: RowState) -> bool:
        return isinstance(row, Reading) and row.root is None

    def insert(self, row: RowState, embedding: Tensor, hits: list[Hit]) -> None:
        """Fork the row, once per reading."""
        assert isinstance(row, Reading)
        if row.root is not None:
            self._ask_again(row)
        readings = self._readings(row, hits) if row.root is None else []
        if len(readings) > 1:
            for reading in readings:
                super().insert(reading, embedding, hits)
            row.readings, row.waiting = readings, True
        elif row.stop_reason != DROPPED:
            super().insert(row, embedding, hits)

    def _readings(self, row: Reading, hits: list[Hit]) -> list[Reading]:
        """Forks of a row that would read different text."""
        forks = [replace(row.fork(), place=place, root=row) for place in range(len(self.decoder.sentence_counts))]
        insertions = [self.decoder.insertion(fork, hits) for fork in forks]
        return [fork for place, fork in enumerate(forks) if insertions[place] not in insertions[:place]]

    def _ask_again(self, row: Reading) -> None:
        """Let the reading with the most sentences go on alone, or another one end."""
        assert row.root is not None
        first, *others = row.root.readings
        for reading in others if row is first else [row]:
            reading.stop_reason = DROPPED

    def forks(self, row: RowState) -> Sequence[RowState]:
        return row.readings if isinstance(row, Reading) else ()

    def read(self, rows: Sequence[RowState], output: StepOutput) -> list[int]:
        choosing = super().read(rows, output)
        return [place for place in choosing if not rows[place].waiting and rows[place].stop_reason is None]

    def proceed(self, row: RowState) -> None:
        if row.waiting:
            return
        super().proceed(row)
        assert isinstance(row, Reading)
        root = row.root
        if root is not None and root.readings and all(reading.stop_reason is not None for reading in root.readings):
            self.take_best(root)

    def take_best(self, row: Reading) -> None:
        """End a row as the best of its readings, as far as they are."""
        readings = row.readings
        rivals = [reading for reading in readings if reading.stop_reason != DROPPED]
        best = max(rivals, key=lambda reading: self.decoder.confidence(reading) or 0.0)  # of equals the first
        self.decoding.stream(row, best.ids[len(row.ids) :])
        calls = row.usage.forward_calls + max(reading.usage.forward_calls for reading in readings)
        row.usage = total_usage(row.usage.prompt_tokens, [row, *readings], calls)
        row.ids, row.retrievals, row.decisions = best.ids, best.retrievals, best.decisions
        row.log_probabilities, row.query_probability = best.log_probabilities, best.query_probability
        row.retrieval_stopped, row.stop_reason = best.retrieval_stopped, best.stop_reason
        row.pending, row.readings, row.waiting = [], [], False
