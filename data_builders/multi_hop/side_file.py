"""Decompositions that come in a file of their own."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

import orjson

from data_builders.errors import RecordError
from data_builders.records import read_records


class SideFile:
    """
    Decompositions by the id of the question.

    Args:
        path (`str` or `PathLike`):
            A JSON object `{id: [{"sub_question", "answer", "title"}, ...]}`, or JSON lines
            `{"id": ..., "decomposition": [...]}`; either may be compressed (`.gz`).

    Raises:
        `RecordError`: If the file has another layout.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        # As bytes, which take a fraction of the memory of the decoded lists.
        self._steps: dict[str, bytes] = {}
        for located in read_records(path):
            record = located.record
            if "decomposition" not in record:
                for question_id, steps in record.items():
                    self._add(question_id, steps, located.where)
            else:
                own_id = record.get("id", record.get("_id"))
                if own_id is None:
                    raise RecordError("missing_field", "the field `id` is missing; add it.", located.where)
                self._add(str(own_id), record["decomposition"], located.where)
        if not self._steps:
            raise ValueError(f"{Path(path).name}: no decomposition in this file.")

    def _add(self, question_id: str, steps: Any, where: str) -> None:
        if not isinstance(steps, list):
            remedy = "give a list of {sub_question, answer, title}."
            raise RecordError("malformed_field", f"the decomposition of {question_id!r} is no list; {remedy}", where)
        self._steps[question_id] = orjson.dumps(steps)

    def get(self, question_id: str) -> Any:
        """The steps of a question, or `None`."""
        steps = self._steps.get(question_id)
        return None if steps is None else orjson.loads(steps)
