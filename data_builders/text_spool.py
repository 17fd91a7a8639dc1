"""`TextSpool`: many short texts in a temporary file, each read back by its number."""

from __future__ import annotations

import tempfile
from array import array
from collections.abc import Sequence
from typing import cast

import orjson

_IN_MEMORY = 32 << 20
"""Bytes that are kept in memory before the file is made."""


class TextSpool:
    """
    A growing list of sentence tuples outside of memory.

    The file has no name and is gone with the process. Appending and reading may alternate.
    """

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 (lives as long as the list)
        self._ends = array("Q", [0])
        self._at_end = True

    def append(self, sentences: Sequence[str]) -> None:
        """Add the sentences of one passage."""
        if not self._at_end:
            self._file.seek(self._ends[-1])
            self._at_end = True
        self._ends.append(self._ends[-1] + self._file.write(orjson.dumps(sentences)))

    def __getitem__(self, number: int) -> tuple[str, ...]:
        start, end = self._ends[number], self._ends[number + 1]
        self._at_end = False
        self._file.seek(start)
        return cast("tuple[str, ...]", tuple(orjson.loads(self._file.read(end - start))))

    def __len__(self) -> int:
        return len(self._ends) - 1
