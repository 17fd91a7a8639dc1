"""The passages of an index as a Parquet file: written once, read row by row."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..data.passages import Passage

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("title", pa.string()),
        ("text", pa.string()),
        ("sentences", pa.list_(pa.string())),
        ("embeddings", pa.int32()),  # how many the passage has; tells the owner of each embedding
    ]
)
IDS = pa.large_string()
"""Type of the ids of a corpus: as strings of Python a million of them take 100 MB and more."""
# Reading one row decodes its whole group: small enough for a millisecond, large enough for a short footer.
_ROWS_PER_GROUP = 512
_CACHED_GROUPS = 16


def write_passages(passages: Sequence[Passage], counts: np.ndarray, path: Path) -> None:
    """
    Write passages to a Parquet file, a group at a time.

    Args:
        passages (`Sequence[Passage]`)
        counts (`np.ndarray` of shape `(n_passages,)`): How many embeddings each passage has.
        path (`Path`)
    """
    # The least and the greatest text of each group would stand in the footer, which is read as a whole.
    with pq.ParquetWriter(path, SCHEMA, compression="zstd", write_statistics=["id"]) as writer:
        for start in range(0, len(passages), _ROWS_PER_GROUP):
            group = [passages[row] for row in range(start, min(start + _ROWS_PER_GROUP, len(passages)))]
            columns = {
                "id": [p.id for p in group],
                "title": [p.title for p in group],
                "text": [p.text for p in group],
                "sentences": [list(p.sentences) for p in group],
                "embeddings": counts[start : start + len(group)].astype(np.int32),
            }
            writer.write_table(pa.table(columns, schema=SCHEMA))


class PassageTable(Sequence[Passage]):
    """
    Random access to the passages of a Parquet file; the file is not read as a whole.

    Args:
        path (`Path`)

    Raises:
        `ValueError`: If it is no Parquet file, or lacks a column.
    """

    def __init__(self, path: Path) -> None:
        try:
            # Not mapped: a column lies in a small piece per group, and the system maps many pages around each piece
            # that is touched, until most of the file is resident.
            self._file = pq.ParquetFile(path)
        except (pa.ArrowException, OSError) as error:
            raise ValueError(f"{path} is no readable Parquet file ({error}): build or download it again") from error
        missing = sorted(set(SCHEMA.names) - set(self._file.schema_arrow.names))
        if missing:
            raise ValueError(f"{path} lacks the columns {missing}: it was not written by `PassageIndex.save`")
        metadata = self._file.metadata
        sizes = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
        self._ends = np.cumsum(np.asarray(sizes, np.int64))
        self._groups: OrderedDict[int, Any] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return self._file.metadata.num_rows

    def __getitem__(self, row: Any) -> Any:
        if not 0 <= row < len(self):
            raise IndexError(f"passage {row} of {len(self)}")
        number = int(np.searchsorted(self._ends, row, side="right"))
        group = self._group(number)
        start = int(self._ends[number]) - group.num_rows
        record = group.slice(int(row) - start, 1).to_pylist()[0]
        return Passage(record["id"], record["title"], record["text"], tuple(record["sentences"]))

    @property
    def ids(self) -> pa.Array:
        """The ids, in order."""
        with self._lock:
            return self._file.read(columns=["id"])["id"].cast(IDS).combine_chunks()

    def counts(self) -> np.ndarray:
        """How many embeddings each passage has: int64 of shape `(n_passages,)`."""
        with self._lock:
            return self._file.read(columns=["embeddings"])["embeddings"].to_numpy().astype(np.int64)

    def _group(self, number: int) -> Any:
        # Requests of several threads share the file, whose reader is not made for that.
        with self._lock:
            if number in self._groups:
                self._groups.move_to_end(number)
            else:
                self._groups[number] = self._file.read_row_group(number, columns=["id", "title", "text", "sentences"])
                if len(self._groups) > _CACHED_GROUPS:
                    self._groups.popitem(last=False)
            return self._groups[number]
