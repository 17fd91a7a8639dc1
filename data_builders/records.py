"""Read records from JSON lines or a JSON array, one at a time, remembering the line each one starts at."""

from __future__ import annotations

import json
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from data_builders.errors import ErrorPolicy, RecordError

_CHUNK = 1 << 16


class Located(NamedTuple):
    """A record and where it stands, e.g. `train.jsonl, line 7`."""

    record: dict[str, Any]
    where: str
    line: int


def read_records(path: str | PathLike[str], policy: ErrorPolicy | None = None) -> Iterator[Located]:
    """
    Stream the records of a `.jsonl` file, or of a `.json` file holding one array of objects.

    Args:
        path (`str` or `PathLike`):
            The file. The layout is told by its first character, not by its name.
        policy (`ErrorPolicy`, *optional*):
            What to do with a record that is not valid JSON; by default it raises.

    Returns:
        `Iterator[Located]`: The records in file order.

    Raises:
        `ValueError`: For a record that is not a JSON object, with file and line.
    """
    path = Path(path)
    policy = policy or ErrorPolicy()
    with path.open(encoding="utf-8-sig") as stream:
        first = stream.read(1)
        while first and first.isspace():
            first = stream.read(1)
        stream.seek(0)
        found = _array_items(stream, path.name) if first == "[" else _lines(stream, path.name)
        for line, item in found:
            where = f"{path.name}, line {line}"
            if isinstance(item, RecordError):
                policy.handle(item)
            elif not isinstance(item, dict):
                policy.handle(RecordError("invalid_json", "expected a JSON object; check the file's layout.", where))
            else:
                yield Located(item, where, line)


def _lines(stream: TextIO, name: str) -> Iterator[tuple[int, Any]]:
    for line, text in enumerate(stream, start=1):
        if not text.strip():
            continue
        try:
            yield line, json.loads(text)
        except json.JSONDecodeError as error:
            yield line, _broken(error.msg, f"{name}, line {line}")


def _array_items(stream: TextIO, name: str) -> Iterator[tuple[int, Any]]:
    """Decode a top-level array item by item, so that a file of any size needs the memory of one item only."""
    decoder = json.JSONDecoder()
    buffer, line, ended = "", 1, False
    separators = " \t\r\n[,"
    while True:
        stripped = buffer.lstrip(separators)
        line += buffer[: len(buffer) - len(stripped)].count("\n")
        buffer = stripped
        # Only the array's own opening bracket may be skipped as a separator.
        separators = " \t\r\n," if buffer else separators
        if buffer.startswith("]"):
            return
        try:
            item, end = decoder.raw_decode(buffer)
        except json.JSONDecodeError as error:
            chunk = "" if ended else stream.read(max(_CHUNK, len(buffer)))
            if not chunk:
                yield line, _broken(error.msg, f"{name}, line {line}")
                return
            buffer += chunk
            continue
        yield line, item
        line += buffer[:end].count("\n")
        buffer = buffer[end:]


def _broken(detail: str, where: str) -> RecordError:
    return RecordError(
        "invalid_json", f'not valid JSON ({detail}); mend the record or pass on_error="skip" to leave it out.', where
    )
