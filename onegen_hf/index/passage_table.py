"""The passages of an index as a Parquet file: written once, read row by row."""

from __future__ import annotations

import json
import os
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..data.passages import Passage
from .parquet_pages import PageError, chunk_size

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("title", pa.string()),
        ("text", pa.string()),
        ("sentences", pa.list_(pa.string())),
        ("embeddings", pa.int32()),  # number of rows of the passage; tells which passage a row belongs to
        ("meta", pa.string()),  # JSON, or null; files of earlier releases don't have the column
    ]
)
ID_TYPE = pa.large_string()
"""Type of the ids of a corpus: as strings of Python a million of them take 100 MB and more."""
META_TYPE = pa.large_string()
WRITE_ERRORS = (pa.ArrowException,)
"""With which errors Parquet reports that a file could not be written."""
_TEXT_COLUMNS = ["id", "title", "text", "sentences"]
_OPTIONAL_COLUMNS = ["meta"]
# Reading one row decodes its whole group: small enough for a millisecond, large enough for a short footer.
_ROWS_PER_GROUP = 512
_CHARACTERS_PER_GROUP = 2**24
_MOST_SMALL_GROUPS = 2**13
_GROUPS_OF_COUNTS = 256
_CACHED_GROUPS = 16
# What a group may take in memory, and all that are kept. A few kilobytes of a hostile file can stand for gigabytes.
_MAX_GROUP_BYTES = 256 * 2**20
_MAX_CACHED_BYTES = 256 * 2**20
_MAX_ID_BYTES = 4096  # on average


def write_passages(
    passages: Iterable[Passage], counts: Iterable[int], path: Path, rows_per_group: int = _ROWS_PER_GROUP
) -> None:
    """
    Write passages to a Parquet file, a group at a time.

    Args:
        passages (`Iterable[Passage]`)
        counts (`Iterable[int]`): Number of rows of each passage.
        path (`Path`)
        rows_per_group (`int`, *optional*, defaults to 512): Reading a passage decodes its group; the list of groups is
            read as a whole.
    """
    # The least and the greatest text of each group would stand in the footer, which is read as a whole.
    with pq.ParquetWriter(
        path, SCHEMA, compression="zstd", write_statistics=["id"], write_page_checksum=True
    ) as writer:
        remaining = iter(counts)
        if isinstance(passages, Sequence):  # one by someone else may not know where to stop by itself
            passages = map(passages.__getitem__, range(len(passages)))
        for group in _groups(passages, rows_per_group):
            columns = {
                "id": [p.id for p in group],
                "title": [p.title for p in group],
                "text": [p.text for p in group],
                "sentences": [list(p.sentences) for p in group],
                "embeddings": np.fromiter(islice(remaining, len(group)), np.int32, len(group)),
                "meta": [to_json(p.meta) for p in group],
            }
            writer.write_table(pa.table(columns, schema=SCHEMA))


def _groups(passages: Iterable[Passage], rows_per_group: int) -> Iterator[list[Passage]]:
    group: list[Passage] = []
    characters = 0
    for passage in passages:
        group.append(passage)
        characters += len(passage.title) + len(passage.text) + sum(map(len, passage.sentences))
        characters += len(to_json(passage.meta) or "")
        if len(group) == rows_per_group or characters >= _CHARACTERS_PER_GROUP:
            yield group
            group, characters = [], 0
    if group:
        yield group


def concatenate_passages(paths: Sequence[Path], count: int, path: Path) -> None:
    """
    Write the passages of several files into one, with the memory of one group.

    Args:
        paths (`Sequence[Path]`): Of files of [`write_passages`].
        count (`int`): Number of all passages. Millions of them get larger groups, so that their list stays short.
        path (`Path`)

    Raises:
        `ValueError`: If a file is damaged.
    """
    rows_per_group = _ROWS_PER_GROUP * max(1, -(-count // _MOST_SMALL_GROUPS // _ROWS_PER_GROUP))
    with pq.ParquetWriter(
        path, SCHEMA, compression="zstd", write_statistics=["id"], write_page_checksum=True
    ) as writer:
        pending: list[pa.Table] = []
        for group in _tables(paths):
            rows = sum(table.num_rows for table in pending) + group.num_rows
            num_bytes = sum(table.nbytes for table in pending) + group.nbytes
            if pending and (rows > rows_per_group or num_bytes > _CHARACTERS_PER_GROUP):
                writer.write_table(pa.concat_tables(pending).combine_chunks())
                pending = []
            pending.append(group)
        if pending:
            writer.write_table(pa.concat_tables(pending).combine_chunks())


def _tables(paths: Sequence[Path]) -> Iterator[pa.Table]:
    for path in paths:
        try:
            with pq.ParquetFile(path, page_checksum_verification=True) as file:
                for number in range(file.metadata.num_row_groups):
                    yield file.read_row_group(number).cast(SCHEMA)
        except (pa.ArrowException, OSError) as error:
            raise ValueError(f"{path} is no readable file of passages ({error}): encode it again") from error


def read_passages(path: Path) -> Iterator[tuple[Passage, int]]:
    """
    Read a file of [`write_passages`] from start to end, with the memory of one group.

    Args:
        path (`Path`): Written by this package on this machine or one that it trusts; [`PassageTable`] reads files of
            strangers.

    Yields:
        `tuple[Passage, int]`: A passage, and its number of rows.

    Raises:
        `ValueError`: If the file is damaged.
    """
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            for batch in file.iter_batches(batch_size=_ROWS_PER_GROUP):
                for row in batch.to_pylist():
                    meta = None if row["meta"] is None else json.loads(row["meta"])
                    sentences = tuple(row["sentences"])
                    yield Passage(row["id"], row["title"], row["text"], sentences, meta), row["embeddings"]
    except (pa.ArrowException, OSError, KeyError) as error:
        raise ValueError(f"{path} is no readable file of passages ({error}): delete it, and run again") from error


class PassageTable(Sequence[Passage]):
    """
    Random access to the passages of a Parquet file, which may come from a stranger; it is not read as a whole.

    Args:
        path (`Path`)

    Raises:
        `ValueError`: If it is no Parquet file, or has other columns. Access to a passage raises it if the passage is
            damaged, or its group would take more than 256 MiB.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            metadata = pq.read_metadata(path)
            schema = metadata.schema.to_arrow_schema()
            self._check_columns(schema)
            self._columns = [*_TEXT_COLUMNS, *(name for name in _OPTIONAL_COLUMNS if name in schema.names)]
            # Values that repeat are kept once, so that a group takes no more memory than its pages declare.
            repeated = ["sentences.list.element" if name == "sentences" else name for name in self._columns]
            # Not mapped: a column lies in a small piece per group, and the system maps many pages around each piece
            # that is touched, until most of the file is resident.
            self._file = pq.ParquetFile(
                path, metadata=metadata, read_dictionary=repeated, page_checksum_verification=True
            )
        except (pa.ArrowException, OSError, KeyError) as error:
            raise ValueError(f"{path} is no readable Parquet file ({error}): build or download it again") from error
        self._metadata = self._file.metadata
        sizes = [self._metadata.row_group(group).num_rows for group in range(self._metadata.num_row_groups)]
        if min(sizes, default=0) < 0 or sum(sizes) != self._metadata.num_rows:
            self._refuse(f"its groups have {sum(sizes)} rows instead of {self._metadata.num_rows}")
        # Name → places among the columns as they are stored, where a list has a column for what is in it.
        paths = [self._file.schema.column(place).path for place in range(len(self._file.schema))]
        self._places = {
            field.name: [place for place, path in enumerate(paths) if path.partition(".")[0] == field.name]
            for field in SCHEMA
        }
        self._ends = np.cumsum(np.asarray(sizes, np.int64))
        self._groups: OrderedDict[int, pa.Table] = OrderedDict()
        self._lock = threading.Lock()

    def _check_columns(self, schema: pa.Schema) -> None:
        missing = [name for name in SCHEMA.names if name not in [*schema.names, *_OPTIONAL_COLUMNS]]
        if missing:
            raise ValueError(f"{self._path} lacks the columns {missing}: it was not written by `PassageIndex.save`")
        for field in SCHEMA:
            if field.name not in schema.names:
                continue
            places = schema.get_all_field_indices(field.name)
            if len(places) > 1 or not _same_type(schema.field(places[0]).type, field.type):
                self._refuse(f"its column {field.name!r} is not one of {field.type}")

    def __len__(self) -> int:
        return int(self._metadata.num_rows)

    def __getitem__(self, row: Any) -> Any:
        if not 0 <= row < len(self):
            raise IndexError(f"passage {row} of {len(self)}")
        number = int(np.searchsorted(self._ends, row, side="right"))
        group = self._group(number)
        start = int(self._ends[number]) - group.num_rows
        record = group.slice(int(row) - start, 1).to_pylist()[0]
        meta = record.pop("meta", None)
        if None in record.values() or None in record["sentences"]:
            self._refuse(f"passage {row} lacks a text")
        try:
            meta = None if meta is None else json.loads(meta)
            return Passage(record["id"], record["title"], record["text"], tuple(record["sentences"]), meta)
        except (ValueError, RecursionError):
            self._refuse(f"the meta of passage {row} is no JSON")

    @property
    def ids(self) -> pa.Array:
        """The ids, in order."""
        column = self._column("id")
        if sum(map(_num_bytes, column.chunks)) > _MAX_ID_BYTES * max(len(self), 2**14):
            self._refuse(f"its ids have more than {_MAX_ID_BYTES} bytes on average")
        return pa.concat_arrays([chunk.dictionary_decode().cast(ID_TYPE) for chunk in column.chunks])

    @property
    def metas(self) -> pa.Array:
        """The `meta` of each passage as JSON, in order; equal ones are kept once."""
        if "meta" not in self._columns:
            return pa.nulls(len(self), META_TYPE)
        with self._lock:
            column = self._read(range(self._metadata.num_row_groups), ["meta"])["meta"]
        return column.unify_dictionaries().combine_chunks()

    def counts(self) -> np.ndarray:
        """Number of rows of each passage: int64 of shape `(n_passages,)`, without memory where all have one."""
        one = np.broadcast_to(np.int64(1), len(self))
        parts: list[np.ndarray] = []
        start = 0
        for first in range(0, self._metadata.num_row_groups, _GROUPS_OF_COUNTS):
            groups = range(first, min(first + _GROUPS_OF_COUNTS, self._metadata.num_row_groups))
            part = self._column("embeddings", groups).to_numpy()
            if parts or (part != 1).any():
                parts += [one[:start], part] if not parts else [part]
            start += len(part)
        return np.concatenate(parts).astype(np.int64) if parts else one

    def _column(self, name: str, groups: Sequence[int] | None = None) -> pa.ChunkedArray:
        with self._lock:
            column = self._read(range(self._metadata.num_row_groups) if groups is None else groups, [name])[name]
        if column.null_count:
            self._refuse(f"its column {name!r} has gaps")
        return column

    def _group(self, number: int) -> pa.Table:
        # Requests of several threads share the file, whose reader is not made for that.
        with self._lock:
            if number in self._groups:
                self._groups.move_to_end(number)
                return self._groups[number]
            group = self._decoded(number)
            self._groups[number] = group
            while len(self._groups) > 1 and (
                len(self._groups) > _CACHED_GROUPS
                or sum(table.nbytes for table in self._groups.values()) > _MAX_CACHED_BYTES
            ):
                self._groups.popitem(last=False)
            return group

    def _decoded(self, number: int) -> pa.Table:
        group = self._read([number], self._columns)
        texts = [group[name] for name in self._columns if name != "sentences"]
        num_bytes = sum(_num_bytes(chunk) for column in texts for chunk in column.chunks)
        num_bytes += sum(_num_bytes(chunk.flatten()) for chunk in group["sentences"].chunks)
        if num_bytes > _MAX_GROUP_BYTES:
            self._refuse(f"group {number} takes {num_bytes} bytes, more than {_MAX_GROUP_BYTES}")
        return group.cast(pa.schema([SCHEMA.field(name) for name in self._columns]))

    def _read(self, groups: Sequence[int], columns: list[str]) -> pa.Table:
        """Read columns of some groups, once their pages have been found to declare a reasonable size."""
        try:
            with open(self._path, "rb") as file:
                for group in groups:
                    metadata = self._metadata.row_group(group)
                    chunks = [metadata.column(place) for name in columns for place in self._places[name]]
                    num_bytes = sum(chunk_size(file, chunk).num_bytes for chunk in chunks)
                    if num_bytes > _MAX_GROUP_BYTES:
                        self._refuse(f"group {group} takes {num_bytes} bytes, more than {_MAX_GROUP_BYTES}")
            table = self._file.read_row_groups(list(groups), columns=columns)
        except (PageError, pa.ArrowException, OSError, OverflowError, NotImplementedError) as error:
            self._refuse(str(error))
        expected = sum(self._metadata.row_group(group).num_rows for group in groups)
        if table.num_rows != expected:
            self._refuse(f"it holds {table.num_rows} rows and declares {expected}")
        return table

    def _refuse(self, what: str) -> NoReturn:
        raise ValueError(f"{os.fspath(self._path)} is damaged ({what}): build or download it again")


def to_json(meta: Any) -> str | None:
    """The `meta` of a passage as it is stored."""
    return None if meta is None else json.dumps(meta, ensure_ascii=False)


def _num_bytes(texts: pa.Array) -> int:
    """The bytes of all texts, those that a dictionary holds once counted as often as they stand there."""
    if isinstance(texts, pa.DictionaryArray):
        lengths = pc.binary_length(texts.dictionary).take(texts.indices)
    else:
        lengths = pc.binary_length(texts)
    return int(pc.sum(lengths).as_py() or 0)


def _same_type(actual: pa.DataType, expected: pa.DataType) -> bool:
    if pa.types.is_list(expected):
        return bool(pa.types.is_list(actual) and actual.value_type == expected.value_type)
    return bool(actual == expected)
