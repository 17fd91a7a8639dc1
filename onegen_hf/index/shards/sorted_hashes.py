"""Hashes of ids or texts, sorted on disk: tells which ones repeat, and finds one, whatever their number."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ...files import atomic_file, errors_naming
from .tensor_file import mapped_tensors, write_tensor

RECORD = 3
"""Numbers of a record: both halves of a hash of 128 bits, and the number of the passage."""
_RECORDS_PER_BUCKET = 2**18
_MOST_BUCKETS = 512  # each is an open file
_NAME = "hashes"


def sort_hashes(blocks: Iterable[np.ndarray], count: int, path: Path) -> None:
    """
    Write a file of all hashes, sorted, each with the number of its passage. Memory does not grow with their number:
    they are distributed to buckets by their first bits, and each bucket is sorted alone.

    Args:
        blocks (`Iterable[np.ndarray]`): Hashes of shape `(n, 2)`, uint64, in the order of the passages.
        count (`int`): Their number.
        path (`Path`)
    """
    buckets = 1
    while buckets * _RECORDS_PER_BUCKET < count and buckets < _MOST_BUCKETS:
        buckets *= 2
    shift = np.uint64(65 - buckets.bit_length())
    with errors_naming(path), ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=".sorting-", dir=path.parent)))
        files: list[BinaryIO] = [
            stack.enter_context(open(folder / str(bucket), "w+b", buffering=2**14)) for bucket in range(buckets)
        ]
        start = 0
        for block in blocks:
            records = np.empty((len(block), RECORD), "<u8")
            records[:, :2], records[:, 2] = block, np.arange(start, start + len(block))
            start += len(block)
            owners = (block[:, 0] >> shift if buckets > 1 else np.zeros(len(block))).astype(np.int64)
            order = np.argsort(owners, kind="stable")
            ends = np.searchsorted(owners[order], np.arange(buckets), side="right")
            for bucket, (first, end) in enumerate(zip(np.concatenate([[0], ends[:-1]]), ends, strict=True)):
                if first < end:
                    files[bucket].write(records[order[first:end]].data)
        temporary = stack.enter_context(atomic_file(path))
        write_tensor(temporary, _NAME, map(_sorted, files), (count, RECORD), "<u8")


def repeated(path: Path) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """
    Passages whose hash an earlier one has.

    Args:
        path (`Path`): Of [`sort_hashes`].

    Yields:
        `tuple[np.ndarray, np.ndarray]`: Numbers of such passages, and of the passages right before them among those
        with the same hash.
    """
    records = mapped_tensors(path)[_NAME]
    for start in range(0, len(records) - 1, _RECORDS_PER_BUCKET):
        block = np.asarray(records[start : start + _RECORDS_PER_BUCKET + 1])
        same = np.flatnonzero((block[1:, :2] == block[:-1, :2]).all(axis=1))
        if len(same):
            yield block[same + 1, 2].astype(np.int64), block[same, 2].astype(np.int64)


class HashTable:
    """
    Finds passages by hash in a file of [`sort_hashes`], which is mapped.

    Args:
        path (`Path`)
    """

    def __init__(self, path: Path) -> None:
        self._records = mapped_tensors(path)[_NAME]

    def find(self, hashes: np.ndarray) -> np.ndarray:
        """
        Args:
            hashes (`np.ndarray` of shape `(n, 2)`, uint64)

        Returns:
            `np.ndarray` of shape `(n,)`, int64: The first passage with each hash; -1 where there is none.
        """
        found = np.full(len(hashes), -1, np.int64)
        if not len(self._records):
            return found
        # The first halves alone nearly always decide; where two hashes share one, the second is taken for unknown.
        places = _lower_bounds(self._records, hashes[:, 0])
        inside = places < len(self._records)
        records = self._records[np.minimum(places, len(self._records) - 1)]
        same = inside & (records[:, :2] == hashes).all(axis=1)
        found[same] = records[same, 2].astype(np.int64)
        return found


def _sorted(file: BinaryIO) -> np.ndarray:
    file.seek(0)
    records = np.frombuffer(file.read(), "<u8").reshape(-1, RECORD)
    return records[np.lexsort((records[:, 2], records[:, 1], records[:, 0]))]


def _lower_bounds(records: Any, keys: np.ndarray) -> np.ndarray:
    """`np.searchsorted` in a mapped column, which it would copy whole: (n,) places, all searched side by side."""
    low = np.zeros(len(keys), np.int64)
    high = np.full(len(keys), len(records), np.int64)
    while (active := low < high).any():
        middle = (low + high) // 2
        smaller = active.copy()
        smaller[active] = records[middle[active], 0] < keys[active]
        low[smaller] = middle[smaller] + 1
        high[active & ~smaller] = middle[active & ~smaller]
    return low
