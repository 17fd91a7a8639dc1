"""Read the records of a file one at a time, remembering where each one stands: JSON, Parquet or CSV."""

from __future__ import annotations

import csv
import gzip
import logging
import zlib
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import IO, Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from data_builders.errors import ErrorPolicy, RecordError
from data_builders.json_stream import iterate_json

_ROWS_PER_BATCH = 256
_DELIMITERS = {".csv": ",", ".tsv": "\t"}
logger = logging.getLogger(__name__)


class Located(NamedTuple):
    """A record and where it stands, e.g. `train.jsonl, line 7`."""

    record: dict[str, Any]
    where: str
    line: int


def read_records(path: str | PathLike[str], policy: ErrorPolicy | None = None) -> Iterator[Located]:
    """
    Stream the records of one file.

    JSON lines and a JSON array of objects are told apart by the first character, Parquet and gzip by their first
    bytes; CSV and TSV (with a header) by the ending `.csv` or `.tsv`. An empty cell of a CSV file counts as missing.

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
    if not magic:
        policy.handle(RecordError("empty_file", "the file is empty; give one with records.", path.name))
        return
    is_compressed = magic[:2] == b"\x1f\x8b"
    suffix = path.with_suffix("").suffix if is_compressed else path.suffix
    unit = "row" if magic == b"PAR1" else "line"
    line = 0
    try:
        if magic == b"PAR1":
            found = _parquet_rows(path)
        else:
            stream = gzip.open(path) if is_compressed else path.open("rb")  # type: ignore[assignment]
            delimiter = _DELIMITERS.get(suffix.lower())
            found = iterate_json(stream) if delimiter is None else _csv_rows(stream, delimiter)
        for line, item in found:
            where = f"{path.name}, {unit} {line}"
            if isinstance(item, RecordError):
                policy.handle(item.at(where))
            elif not isinstance(item, dict):
                policy.handle(RecordError("invalid_json", "expected a JSON object; check the file's layout.", where))
            else:
                yield Located(item, where, line)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        message = f"the compressed file ends too early or is damaged ({error}); fetch it again."
        policy.handle(RecordError("truncated_file", message, f"{path.name}, after line {line}"))
    except UnicodeDecodeError as error:
        message = f"not UTF-8 ({error.reason}); convert the file to UTF-8."
        policy.handle(RecordError("invalid_text", message, f"{path.name}, after line {line}"))
    except pa.ArrowInvalid as error:
        message = f"the Parquet file ends too early or is damaged ({error}); fetch it again."
        policy.handle(RecordError("truncated_file", message, f"{path.name}, after row {line}"))


def _parquet_rows(path: Path) -> Iterator[tuple[int, Any]]:
    number = 0
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=_ROWS_PER_BATCH):
            for row in batch.to_pylist():
                number += 1
                yield number, row


def _csv_rows(stream: IO[bytes], delimiter: str) -> Iterator[tuple[int, Any]]:
    csv.field_size_limit(1 << 27)  # a cell may hold a whole article
    text = (line.decode("utf-8-sig" if number == 0 else "utf-8") for number, line in enumerate(stream))
    reader = csv.DictReader(text, delimiter=delimiter)
    with stream:
        for row in reader:
            if None in row:
                yield (
                    reader.line_num,
                    RecordError("malformed_csv", "more cells than the header has; quote the commas."),
                )
            else:
                yield reader.line_num, {name: cell for name, cell in row.items() if cell not in ("", None)}
