"""`ResultsFile`: one JSON line per example, from which an interrupted run can continue."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)


class ResultsFile:
    """
    Results in the order of the examples, written in blocks.

    A block is what goes through the model together. Floating-point sums depend on what shares a batch, so after an
    interruption a block is computed again as a whole: the file then equals that of an uninterrupted run to the byte.
    What a kill left of an unfinished block, torn line included, is dropped when the file is opened again.

    Args:
        path (`str` or path): Read if it exists.
        ids (`Sequence[str]`): Of all examples, in order.
        block_size (`int`): Examples per block; the last one may be shorter.

    Raises:
        `ValueError`: If the file contains anything but the results of the first examples.
    """

    def __init__(self, path: str | os.PathLike[str], ids: Sequence[str], block_size: int) -> None:
        self.path = Path(path)
        self.ids = ids
        self.block_size = block_size
        self.path.touch()
        found, ends = self._readable_lines()
        self.finished = found if found == len(ids) else found - found % block_size
        """Number of leading examples whose results are in the file."""
        length = ends[self.finished]
        dropped = self.path.stat().st_size - length
        if dropped:
            logger.info("%s: dropped %d bytes of an unfinished block", self.path, dropped)
            with self.path.open("rb+") as stream:
                stream.truncate(length)

    def blocks(self) -> Iterator[slice]:
        """Positions of the examples of each missing block, in order."""
        for start in range(self.finished, len(self.ids), self.block_size):
            yield slice(start, min(start + self.block_size, len(self.ids)))

    def append(self, results: Sequence[Mapping[str, Any]]) -> None:
        """Write the results of the next block, with their `id`, and hand them to the operating system."""
        lines = [json.dumps(result, ensure_ascii=False) + "\n" for result in results]
        # newline="": the bytes are the same on every system.
        with self.path.open("a", encoding="utf-8", newline="") as stream:
            for line in lines:
                stream.write(line)
                stream.flush()
        self.finished += len(lines)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        with self.path.open(encoding="utf-8") as stream:
            yield from map(json.loads, stream)

    def _readable_lines(self) -> tuple[int, list[int]]:
        """Number of whole lines, and the size of the file up to the last of them."""
        ends = [0]
        with self.path.open("rb") as stream:
            for number, line in enumerate(stream):
                identifier = _identifier(line)
                if identifier is None:
                    if stream.read(1):
                        self._refuse(number, "no JSON object with an `id`")
                    break
                if number >= len(self.ids):
                    self._refuse(number, f"the result of a further example, {identifier!r}")
                if identifier != self.ids[number]:
                    self._refuse(number, f"the result of {identifier!r} where that of {self.ids[number]!r} belongs")
                ends.append(ends[-1] + len(line))
        return len(ends) - 1, ends

    def _refuse(self, number: int, what: str) -> None:
        raise ValueError(
            f"{self.path}, line {number + 1}: {what}. Delete the file to start over, or give another output directory."
        )


def _identifier(line: bytes) -> str | None:
    if not line.endswith(b"\n"):
        return None
    try:
        record = json.loads(line)
    except ValueError:  # torn JSON and torn UTF-8 alike
        return None
    identifier = record.get("id") if isinstance(record, dict) else None
    return identifier if isinstance(identifier, str) else None
