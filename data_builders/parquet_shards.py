"""`ShardWriter`: rows to Parquet files of bounded size, with the memory of one batch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Features

ROWS_PER_GROUP = 1000
BYTES_PER_SHARD = 400 << 20


class ShardWriter:
    """
    Writes rows to `NAME-00000-of-000NN.parquet`, as the Hub's datasets are laid out.

    Args:
        folder (`Path`):
            Where the files go; made if needed.
        name (`str`):
            The split.
        features (`datasets.Features`):
            The columns.
        bytes_per_shard (`int`, *optional*, defaults to 400 MiB):
            Start a new file once this many bytes are in memory.
    """

    def __init__(self, folder: Path, name: str, features: Features, bytes_per_shard: int = BYTES_PER_SHARD) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._name, self._limit = folder, name, bytes_per_shard
        self._schema: pa.Schema = features.arrow_schema
        self._rows: list[Mapping[str, Any]] = []
        self._shards: list[Path] = []
        self._writer: pq.ParquetWriter | None = None
        self._bytes = 0
        self.num_rows = 0

    def write(self, row: Mapping[str, Any]) -> None:
        """Add one row."""
        self._rows.append(row)
        self.num_rows += 1
        if len(self._rows) == ROWS_PER_GROUP:
            self._flush()

    def _flush(self) -> None:
        table = pa.Table.from_pylist(self._rows, schema=self._schema)
        self._rows = []
        if self._writer is None:
            self._shards.append(self._folder / f"{self._name}-{len(self._shards):05d}.parquet")
            self._writer = pq.ParquetWriter(self._shards[-1], self._schema)
            self._bytes = 0
        self._writer.write_table(table)
        self._bytes += table.nbytes
        if self._bytes >= self._limit:
            self._close_shard()

    def _close_shard(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None and (self._rows or not self._shards):
            self._flush()
        self._close_shard()
        if error is None:
            for number, shard in enumerate(self._shards):
                shard.rename(self._folder / f"{self._name}-{number:05d}-of-{len(self._shards):05d}.parquet")
