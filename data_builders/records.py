"""Read the records of a file one at a time, remembering where each one stands: JSON, Parquet or CSV."""

from __future__ import annotations

import csv
import gzip
import io
import logging
import zlib
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import IO, Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from data_builders.errors import ErrorPolicy, RecordError
from data_builders.json_stream import iterate_json, not_utf8

_ROWS_PER_BATCH = 256
_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_GZIP, _ZSTD, _UTF_16 = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", (b"\xff\xfe", b"\xfe\xff")
_COMPRESSED = (".gz", ".zst", ".zstd")
DATA_SUFFIXES = (".jsonl", ".ndjson", ".json", ".parquet", ".csv", ".tsv")
"""Endings of data files in lower or upper case, each also with `.gz` or `.zst` behind it."""
TEXT_SUFFIXES = (".txt", ".md")
"""Endings of files that are one text each."""
logger = logging.getLogger(__name__)


class Located(NamedTuple):
    """A record and where it stands, e.g. `train.jsonl, line 7`."""

    record: dict[str, Any]
    where: str
    line: int


def data_suffix(path: Path) -> str:
    """The ending of a file in lower case, that of compression left out."""
    return (path.with_suffix("") if path.suffix.lower() in _COMPRESSED else path).suffix.lower()


def read_records(path: str | PathLike[str], policy: ErrorPolicy | None = None) -> Iterator[Located]:
    """
    Stream the records of one file.

    JSON lines and a JSON array of objects are told apart by the first character; Parquet, gzip and zstd by their first
    bytes; CSV and TSV (with a header) by the ending `.csv` or `.tsv`, and a text, which is one record with its name as
    title, by `.txt` or `.md`. Cells of CSV and TSV are text as they stand; an empty one counts as missing.

    Args:
        path (`str` or `PathLike`):
            The file.
        policy (`ErrorPolicy`, *optional*):
            What to do with a malformed record, an empty file or one that ends too early; by default it raises.

    Returns:
        `Iterator[Located]`: The records in file order.

    Raises:
        `RecordError`: For something malformed, with file and line, if the policy says so.
    """
    path = Path(path)
    policy = policy or ErrorPolicy()
    with path.open("rb") as stream:
        magic = stream.read(4)
    if not magic and data_suffix(path) not in TEXT_SUFFIXES:
        policy.handle(RecordError("empty_file", "the file is empty; give one with records.", path.name))
        return
    unit = "row" if magic == b"PAR1" else "line"
    line = 0
    try:
        for line, item in _parquet_rows(path) if magic == b"PAR1" else _text_rows(path, magic):
            where = f"{path.name}, {unit} {line}"
            if isinstance(item, RecordError):
                policy.handle(item.at(where))
            elif not isinstance(item, dict):
                policy.handle(RecordError("invalid_json", "expected a JSON object; check the file's layout.", where))
            else:
                yield Located(item, where, line)
    except RecordError as error:
        policy.handle(error.at(path.name))
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        message = f"the compressed file ends too early or is damaged ({error}); fetch it again."
        policy.handle(RecordError("truncated_file", message, f"{path.name}, after line {line}"))
    except UnicodeDecodeError as error:
        policy.handle(not_utf8(error).at(f"{path.name}, after line {line}"))
    except pa.ArrowInvalid as error:
        message = f"the Parquet file ends too early or is damaged ({error}); fetch it again."
        policy.handle(RecordError("truncated_file", message, f"{path.name}, after row {line}"))


def _text_rows(path: Path, magic: bytes) -> Iterator[tuple[int, Any]]:
    stream: IO[bytes] = path.open("rb")
    if magic[:2] == _GZIP:
        stream = gzip.open(stream)  # type: ignore[assignment]
    elif magic == _ZSTD:
        stream = _Zstd(stream)  # type: ignore[assignment]
    suffix = data_suffix(path)
    if magic[:2] in _UTF_16:
        raise RecordError("invalid_text", "UTF-16 and not UTF-8; convert the file to UTF-8.")
    if suffix in TEXT_SUFFIXES:
        with stream:
            text = stream.read()
        try:
            yield 1, {"title": _stem(path), "text": text.decode("utf-8-sig")}
        except UnicodeDecodeError as error:
            raise not_utf8(error) from error
    elif suffix in _DELIMITERS:
        yield from _csv_rows(stream, _DELIMITERS[suffix], path.name)
    else:
        yield from iterate_json(stream)


def _stem(path: Path) -> str:
    return (path.with_suffix("") if path.suffix.lower() in _COMPRESSED else path).stem


class _Zstd(io.BufferedReader):
    """A zstd stream, read by pyarrow."""

    def __init__(self, stream: IO[bytes]) -> None:
        super().__init__(_Decompressed(stream))


class _Decompressed(io.RawIOBase):
    def __init__(self, stream: IO[bytes]) -> None:
        self._file, self._stream = stream, pa.CompressedInputStream(stream, "zstd")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            read = self._stream.read(len(buffer))
        except OSError as error:
            raise EOFError(str(error)) from error
        buffer[: len(read)] = read
        return len(read)

    def close(self) -> None:
        self._file.close()
        super().close()


def _parquet_rows(path: Path) -> Iterator[tuple[int, Any]]:
    number = 0
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=_ROWS_PER_BATCH):
            for row in batch.to_pylist():
                number += 1
                yield number, row


def _csv_rows(stream: IO[bytes], delimiter: str, name: str) -> Iterator[tuple[int, Any]]:
    csv.field_size_limit(1 << 27)  # a cell may hold a whole article
    reader = csv.DictReader(_decoded(stream, name), delimiter=delimiter)
    with stream:
        try:
            for row in reader:
                if None in row:
                    message = "more cells than the header has; quote the commas."
                    yield reader.line_num, RecordError("malformed_csv", message)
                else:
                    yield reader.line_num, {name: cell for name, cell in row.items() if cell not in ("", None)}
        except csv.Error as error:
            yield reader.line_num, RecordError("malformed_csv", f"{error}; check the quotes before this line.")


def _decoded(stream: IO[bytes], name: str) -> Iterator[str]:
    for number, line in enumerate(stream, start=1):
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise not_utf8(error).at(f"{name}, line {number}") from error
