"""Decode JSON lines, a JSON array or objects in a row, item by item, from a file of any size."""

from __future__ import annotations

import codecs
import json
import logging
import re
from collections.abc import Iterator
from itertools import chain
from typing import IO, Any

import orjson

from data_builders.errors import RecordError

_CHUNK = 1 << 18
_OPENING, _BETWEEN = re.compile(r"[ \t\r\n]*\[?"), re.compile(r"[ \t\r\n,]*")
# The decoder places an error where the text ends, or this little before it when a word or an escape is cut through.
_CUT = 16
logger = logging.getLogger(__name__)


def iterate_json(stream: IO[bytes]) -> Iterator[tuple[int, Any]]:
    """
    Decode the items of a binary stream and close it.

    Args:
        stream (`IO[bytes]`):
            UTF-8, with or without a byte order mark.

    Returns:
        `Iterator[tuple[int, Any]]`: The line that each item starts at, and the item; a `RecordError` in place of one
        that is not valid JSON. What comes after it in an array or a multi-line object can't be read.
    """
    with stream:
        head, first = _up_to_text(stream)
        if head:
            head[0] = head[0].removeprefix(codecs.BOM_UTF8)
        if first == b"{":
            # An object over many lines goes on with a key; a line that was cut off does not.
            more, second = _up_to_text(stream)
            head += more
            is_long = second.startswith((b'"', b"}"))
        else:
            is_long = first.startswith(b"[")
        if is_long:
            yield from _items(b"".join(head), stream)
        else:
            if head and not head[-1].endswith(b"\n"):
                head[-1] += stream.readline()
            yield from _lines(chain(head, stream))


def _up_to_text(stream: IO[bytes]) -> tuple[list[bytes], bytes]:
    """
    Read up to the first line that is not blank; give all lines, and that one without what is around it.

    Of a long line only the beginning is read: a whole array may stand in it.
    """
    lines: list[bytes] = []
    while raw := stream.readline(_CHUNK):
        lines.append(raw)
        if text := raw.removeprefix(codecs.BOM_UTF8).strip():
            return lines, text
    return lines, b""


def _lines(stream: Iterator[bytes]) -> Iterator[tuple[int, Any]]:
    for line, raw in enumerate(stream, start=1):
        if not raw.isspace():
            try:
                item = orjson.loads(raw)
            except orjson.JSONDecodeError:
                item = _lenient(raw)
            yield line, item


def _lenient(raw: bytes) -> Any:
    """Decode what the strict decoder refuses, such as `NaN`."""
    try:
        return encodable(json.loads(raw))
    except UnicodeDecodeError as error:
        return not_utf8(error)
    except (json.JSONDecodeError, RecursionError) as error:
        return broken(str(error) if isinstance(error, RecursionError) else error.msg)


def _items(buffered: bytes, stream: IO[bytes]) -> Iterator[tuple[int, Any]]:
    """Decode an array, or objects in a row, with the memory of one item."""
    decoder, utf8 = json.JSONDecoder(), codecs.getincrementaldecoder("utf-8")()
    buffer, position, line = utf8.decode(buffered), 0, 1
    is_array, ended = buffer.lstrip().startswith("["), False
    # Only the array's own opening bracket may be skipped as a separator.
    separators = _OPENING if is_array else _BETWEEN
    while True:
        skipped = separators.match(buffer, position)
        end = skipped.end() if skipped else position
        line += buffer.count("\n", position, end)
        position = end
        if position < len(buffer):
            separators = _BETWEEN
            if is_array and buffer[position] == "]":
                if buffer[position + 1 :].strip() or stream.read().strip():
                    yield line, broken("more text after the end of the array")
                return
        elif ended and not is_array:
            return
        try:
            item, end = decoder.raw_decode(buffer, position)
        except (json.JSONDecodeError, RecursionError) as error:
            if not ended and _may_be_cut(error, buffer):
                chunk = stream.read(max(_CHUNK, len(buffer) - position))
                ended = not chunk
                buffer, position = buffer[position:] + utf8.decode(chunk, final=ended), 0
                continue
            logger.warning("the items after line %d cannot be read: the one there is not valid JSON", line)
            yield line, broken(error.msg if isinstance(error, json.JSONDecodeError) else str(error))
            return
        yield line, encodable(item)
        line += buffer.count("\n", position, end)
        position = end


def _may_be_cut(error: Exception, buffer: str) -> bool:
    """Whether it is the end of the buffer that is wrong, rather than something before it."""
    if not isinstance(error, json.JSONDecodeError):
        return False
    return error.pos >= len(buffer) - _CUT or error.msg.startswith("Unterminated string")


def encodable(item: Any) -> Any:
    """Give back what can be written as UTF-8; `\\ud800` alone is valid JSON, but no text."""
    try:
        orjson.dumps(item)
    except TypeError as error:
        return RecordError("invalid_text", f"the record holds what can't be stored ({error}); mend it.")
    return item


def not_utf8(error: UnicodeDecodeError) -> RecordError:
    """The error of text in another encoding; `iconv -f LATIN1 -t UTF-8` converts a file."""
    byte = f"byte 0x{error.object[error.start]:02x} at {error.start}"
    return RecordError("invalid_text", f"not UTF-8 ({error.reason}, {byte}); convert the file to UTF-8.")


def broken(detail: str) -> RecordError:
    """The error of a record that is not valid JSON."""
    return RecordError(
        "invalid_json", f'not valid JSON ({detail}); mend the record or pass on_error="skip" to leave it out.'
    )
