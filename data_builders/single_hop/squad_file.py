"""SQuAD's nested files as one row per question, read article by article."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import Any, TextIO

from data_builders.errors import ErrorPolicy, RecordError
from data_builders.json_stream import encodable
from data_builders.records import Located, read_records

_CHUNK = 1 << 16
_SPACE = re.compile(r"[ \t\r\n]*")
# Cut short or damaged by compression, or not UTF-8.
_UNREADABLE = (EOFError, zlib.error, gzip.BadGzipFile, UnicodeDecodeError)
_decoder = json.JSONDecoder()


def read_questions(path: str | PathLike[str], policy: ErrorPolicy) -> Iterator[Located]:
    """
    Stream the questions of a file, in whichever layout it is.

    `{"data": [article, ...]}` is decoded one article at a time: the memory needed is that of the largest article. JSON
    lines and arrays may hold articles (`paragraphs`), paragraphs (`qas`, as in MRQA) or flat questions.

    Args:
        path (`str` or `PathLike`):
            The file; may be compressed (`.gz`).
        policy (`ErrorPolicy`):
            What to do with a malformed article, paragraph or question.

    Returns:
        `Iterator[Located]`: Records with `question` and, where they were nested, `title` and `context`.

    Raises:
        `RecordError`: If something is malformed and the policy says so; it names the place.
    """
    path = Path(path)
    offset = _find_articles(path)
    number = 0
    if offset is None:
        for located in read_records(path, policy):
            if set(located.record) == {"header"}:  # MRQA's first line describes the file
                continue
            if "paragraphs" not in located.record and "qas" not in located.record:
                yield located
                continue
            for row, where in _flatten(located.record, located.where, policy):
                number += 1
                yield Located(row, where, number)
        return
    with _open(path) as stream:
        stream.read(offset)
        for position, article in enumerate(_array(stream, path.name, policy)):
            for row, where in _flatten(article, f"{path.name}, data[{position}]", policy):
                number += 1
                yield Located(row, where, number)


def _find_articles(path: Path) -> int | None:
    """Where the array under `data` begins; `None` for another layout, and for what cannot be read at all."""
    try:
        with _open(path) as stream:
            return _data_offset(stream.read(_CHUNK))
    except _UNREADABLE:
        return None


def _open(path: Path) -> TextIO:
    with path.open("rb") as stream:
        compressed = stream.read(2) == b"\x1f\x8b"
    if compressed:
        return gzip.open(path, "rt", encoding="utf-8-sig")  # type: ignore[return-value]
    return path.open(encoding="utf-8-sig")


def _data_offset(head: str) -> int | None:
    """Where the array under the top-level key `data` begins, or `None` for another layout."""
    position = _skip(head, 0)
    if not head.startswith("{", position):
        return None
    position += 1
    try:
        while True:
            key, position = _decoder.raw_decode(head, _skip(head, position))
            position = _skip(head, position)
            if not isinstance(key, str) or not head.startswith(":", position):
                return None
            position = _skip(head, position + 1)
            if key == "data" and head.startswith("[", position):
                return position + 1
            _, position = _decoder.raw_decode(head, position)
            position = _skip(head, position)
            if not head.startswith(",", position):
                return None
            position += 1
    except json.JSONDecodeError:
        return None


def _array(stream: TextIO, name: str, policy: ErrorPolicy) -> Iterator[Any]:
    """Decode the items of an array whose bracket was just read, then make sure that the file ends as it should."""
    buffer, item = stream.read(_CHUNK), 0
    while True:
        buffer = buffer[_skip(buffer, 0, ",") :]
        if buffer.startswith("]"):
            if not (buffer + stream.read(_CHUNK)).rstrip().endswith("}"):
                policy.handle(_broken("no closing brace at the end", f"{name}, behind data"))
            return
        try:
            value, end = _decoder.raw_decode(buffer)
        except json.JSONDecodeError as error:
            detail = error.msg
            try:
                chunk = stream.read(max(_CHUNK, len(buffer)))
            except _UNREADABLE as unreadable:
                chunk, detail = "", str(unreadable)
            if not chunk:
                policy.handle(_broken(detail, f"{name}, data[{item}]"))
                return
            buffer += chunk
            continue
        yield encodable(value)
        item += 1
        buffer = buffer[end:]


def _flatten(record: Any, where: str, policy: ErrorPolicy) -> Iterator[tuple[dict[str, Any], str]]:
    """The questions of an article or of a paragraph, with title and context."""
    try:
        if isinstance(record, RecordError):
            raise record
        if not isinstance(record, Mapping):
            raise RecordError("malformed_article", "expected an object with `paragraphs`.")
        paragraphs = record.get("paragraphs", [record] if "qas" in record else None)
        if not isinstance(paragraphs, list):
            raise RecordError("malformed_article", "`paragraphs` must be a list of {context, qas}; add it.")
    except RecordError as error:
        policy.handle(error.at(where))
        return
    for number, paragraph in enumerate(paragraphs):
        place = f"{where}.paragraphs[{number}]" if "paragraphs" in record else where
        questions = paragraph.get("qas") if isinstance(paragraph, Mapping) else None
        if not isinstance(questions, list):
            policy.handle(
                RecordError("malformed_paragraph", "a paragraph must be an object with `context` and `qas`.", place)
            )
            continue
        shared = {"title": record.get("title"), "context": paragraph.get("context")}
        for index, question in enumerate(questions):
            if isinstance(question, Mapping):
                yield {**shared, **question}, f"{place}.qas[{index}]"
            else:
                policy.handle(
                    RecordError("malformed_question", "a question must be an object.", f"{place}.qas[{index}]")
                )


def _skip(text: str, position: int, also: str = "") -> int:
    """The first place from `position` on without space (nor the character `also`)."""
    while True:
        match = _SPACE.match(text, position)
        position = match.end() if match else position
        if not also or not text.startswith(also, position):
            return position
        position += 1


def _broken(detail: str, where: str) -> RecordError:
    return RecordError("invalid_json", f"not valid JSON ({detail}); the file is damaged, fetch it again.", where)
