"""`DecodingLoop`: the loop of all one-pass decoding; rows of any number of calls go through the model together."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import torch
from torch import Tensor

from .decoding import Decoding
from .memory import Memory, StepOutput, memory_for
from .shared_prefix import common_prefix, read_prefix
from .state import RowState


@dataclass(frozen=True, eq=False)
class Member:
    """
    A row in the loop, the call that it belongs to, its key in the memory, and the key of the row that it was forked
    from, if it was.
    """

    row: Any
    decoding: Decoding[Any]
    key: int
    source: int | None = None


class DecodingLoop:
    """
    Decodes rows together. Rows join and leave between any two steps. Each row forwards its prompt, its own tokens and
    its inserted text exactly once. Rows are independent: each result equals decoding the row alone.

    Args:
        model ([`OneGenForCausalLM`])

    Example:

    ```python
    >>> loop = DecodingLoop(model)
    >>> loop.join(decoding, row)
    >>> while loop.size:
    ...     loop.step()
    ```
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self._members: list[Member] = []
        self._joining: deque[Member] = deque()
        self._memory: Memory | None = None
        self._keys = count()

    @property
    def size(self) -> int:
        """Number of rows that have not ended."""
        return sum(member.row.stop_reason is None for member in (*self._members, *self._joining))

    def join(self, decoding: Decoding[Any], row: RowState, source: int | None = None) -> None:
        """Let a row take part from the next step on, as a fork of what the memory holds under `source`."""
        decoding.task.admit(row)  # type: ignore[arg-type]
        self._joining.append(Member(row, decoding, next(self._keys), source))

    @torch.no_grad()
    def run_together(self, decoding: Decoding[Any], rows: Sequence[RowState]) -> None:
        """Decode rows that start together until all have ended; what all of them begin with is read once."""
        source = None
        if self._memory is None and (prefix := common_prefix(rows)):
            source = next(self._keys)
            self._memory = read_prefix(self.model, rows, prefix, source)
        for row in sorted(rows, key=lambda row: -len(row.ids)):
            self.join(decoding, row, source)
        self.run(decoding, [])

    def run(self, decoding: Decoding[Any], rows: Sequence[RowState], max_rows: int | None = None) -> None:
        """Decode rows until all have ended; see [`~DecodingLoop.steps`]."""
        for _ in self.steps(decoding, rows, max_rows):
            pass

    def steps(
        self, decoding: Decoding[Any], rows: Sequence[RowState], max_rows: int | None = None
    ) -> Generator[list[RowState], None, None]:
        """
        Decode rows one step at a time, in the caller's thread: nothing runs between two steps, and a caller that stops
        asking ends the decoding.

        Args:
            decoding ([`Decoding`])
            rows (`Sequence[RowState]`)
            max_rows (`int`, *optional*): Rows decoded at a time. Each of the others starts as soon as a row ends
                (continuous batching). By default all rows start together.

        Yields:
            `list[RowState]`: The rows that took part in the step, with what they wrote and received in it.
        """
        # Rows with long prompts tend to take more hops. Start them first, so that they don't run alone at the end.
        waiting = deque(sorted(rows, key=lambda row: -len(row.ids)))
        while waiting or self.size:
            while waiting and self.size < (max_rows or len(rows)):
                self.join(decoding, waiting.popleft())
            self.step()
            yield [member.row for member in self._members]

    @torch.no_grad()
    def step(self) -> None:
        """Forward the pending tokens of all rows, and let each write its next token or receive its passages."""
        self._rearrange()
        if not self._members:
            return
        assert self._memory is not None
        memory = self._memory
        members = [member for member in self._members if not member.row.waiting]
        drafts = [member.decoding.draft(member.row, len(members)) if memory.can_rollback else [] for member in members]
        output = memory.append(
            [member.key for member in members],
            [[*member.row.pending, *draft] for member, draft in zip(members, drafts, strict=True)],
            [
                member.decoding.task.query_positions(member.row, draft)
                for member, draft in zip(members, drafts, strict=True)
            ],
            [len(draft) for draft in drafts],
            among_few=all(member.decoding.among_few for member in members),
        )
        for member, draft in zip(members, drafts, strict=True):
            member.row.count_forward(len(draft))
        self._retrieve(members, output.hidden)
        for places in _grouped([id(member.decoding) for member in members]):
            if members[places[0]].decoding.sampler.do_sample:
                places.sort(key=lambda place: members[place].key)  # what a row draws depends on no other call's rows
            self._advance([members[place] for place in places], [drafts[place] for place in places], output.of(places))

    def _rearrange(self) -> None:
        """
        Let rows that have ended leave and new ones join. New rows take the places of those that left; the last rows
        fill the places that remain, so that few keys and values move.
        """
        members, free = list[Member | None](self._members), deque[int]()
        for place, member in enumerate(self._members):
            if member.row.stop_reason is not None:
                members[place] = None
                free.append(place)
        joining = [member for member in self._joining if member.row.stop_reason is None]
        self._joining.clear()
        if not free and not joining:
            return
        for member in joining:
            if free:
                members[free.popleft()] = member
            else:
                members.append(member)
        while free:
            if (last := members.pop()) is None:
                free.pop()
            else:
                members[free.popleft()] = last
        self._members = [member for member in members if member is not None]
        keys = [member.key for member in self._members]
        if not keys:
            self._memory = None
        elif self._memory is None:
            self._memory = memory_for(self.model, keys)
        else:
            for member in joining:
                if member.source is not None:
                    self._memory.fork(member.source, member.key)
            self._memory.retain(keys)

    def _retrieve(self, members: Sequence[Member], hidden: Tensor) -> None:
        """Search for all rows that ask, together where their calls share a retriever."""
        places = [place for place, member in enumerate(members) if member.decoding.task.asks(member.row)]
        places.sort(key=lambda place: members[place].key)  # forks join in the order of their rows
        for group in _grouped([id(members[place].decoding.task.retriever) for place in places]):
            self._retrieve_for([members[places[n]] for n in group], hidden[[places[n] for n in group]])

    def _retrieve_for(self, members: list[Member], embeddings: Tensor) -> None:
        hits = members[0].decoding.task.retrieve([member.row for member in members], embeddings)
        for member, *retrieved in zip(members, embeddings, hits, strict=True):
            member.decoding.task.insert(member.row, *retrieved)
            for fork in member.decoding.task.forks(member.row):
                self._joining.append(Member(fork, member.decoding, next(self._keys), source=member.key))

    def _advance(self, members: list[Member], drafts: list[list[int]], output: StepOutput) -> None:
        """Let the rows of one call go on."""
        assert self._memory is not None
        rejected = members[0].decoding.advance(
            [member.row for member in members], drafts, output, self._memory.can_rollback
        )
        for member, tokens in zip(members, rejected, strict=True):
            if tokens:
                self._memory.rollback(member.key, tokens)


def _grouped(labels: Sequence[int]) -> list[list[int]]:
    """Places with equal labels, in order of their first place."""
    groups: dict[int, list[int]] = {}
    for place, label in enumerate(labels):
        groups.setdefault(label, []).append(place)
    return list(groups.values())
