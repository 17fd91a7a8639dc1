"""What the pages of a Parquet file declare, read before a decoder allocates memory for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, BinaryIO

MAX_PAGE_BYTES = 64 * 2**20
MAX_CHUNK_VALUES = 2**22
_WINDOW = 512
_MAX_HEADER = 2**20
_MAX_DEPTH = 8
# PLAIN, PLAIN_DICTIONARY, RLE, RLE_DICTIONARY: others repeat earlier values, and so grow without a bound.
_ENCODINGS = {0, 2, 3, 8}
# Fields of the structs of a page header, by the number that the format gives them.
_SIZE, _STORED_SIZE, _DATA, _DICTIONARY, _DATA_V2 = 2, 3, 5, 7, 8


class PageError(Exception):
    """A page that declares more than is reasonable, or cannot be read."""


@dataclass(frozen=True)
class ChunkSize:
    """
    What the decoding of a column chunk takes.

    Args:
        num_bytes (`int`): Of all pages, uncompressed.
        num_values (`int`): Values and nulls.
    """

    num_bytes: int
    num_values: int


def chunk_size(file: BinaryIO, column: Any) -> ChunkSize:
    """
    Add up what the pages of a column chunk declare in their own headers, which a decoder believes.

    Args:
        file (`BinaryIO`): The Parquet file.
        column (`pyarrow.parquet.ColumnChunkMetaData`)

    Raises:
        [`PageError`]: If a page has more than 64 MiB, the chunk more than four million values, or its values are
            encoded in a way that lets few bytes stand for many.
    """
    position = column.data_page_offset
    if column.has_dictionary_page and 0 < column.dictionary_page_offset < position:
        position = column.dictionary_page_offset
    end = position + column.total_compressed_size
    num_bytes = num_values = 0
    while position < end:
        header, length = _header(file, position, end)
        size, stored = header.get(_SIZE), header.get(_STORED_SIZE)
        if not isinstance(size, int) or not isinstance(stored, int) or not 0 <= size <= MAX_PAGE_BYTES or stored < 0:
            raise PageError(f"a page of {column.path_in_schema!r} declares {size} bytes, {stored} of them stored")
        num_bytes += size
        for field, encoding_field in ((_DATA, 2), (_DICTIONARY, 2), (_DATA_V2, 4)):
            page = header.get(field)
            if not isinstance(page, dict):
                continue
            values, encoding = page.get(1), page.get(encoding_field)
            if encoding not in _ENCODINGS:
                raise PageError(f"a page of {column.path_in_schema!r} has the encoding {encoding}")
            if not isinstance(values, int) or values < 0:
                raise PageError(f"a page of {column.path_in_schema!r} declares {values} values")
            num_values += values
        if num_values > MAX_CHUNK_VALUES:
            raise PageError(f"{column.path_in_schema!r} has more than {MAX_CHUNK_VALUES} values in one group")
        position += length + stored
    return ChunkSize(num_bytes, num_values)


def _header(file: BinaryIO, position: int, end: int) -> tuple[dict[int, Any], int]:
    """The header of the page at a position, and its length."""
    window = _WINDOW
    while True:
        file.seek(position)
        content = file.read(min(window, end - position))
        reader = _CompactReader(content)
        try:
            return reader.struct(), reader.position
        except IndexError:
            if len(content) < window or window >= _MAX_HEADER:
                raise PageError("the header of a page is cut off") from None
            window *= 4


class _CompactReader:
    """
    Thrift's compact protocol, as far as page headers use it: numbers, binaries and structs.

    Raises:
        `IndexError`: At the end of the content.
        [`PageError`]: For what no page header holds.
    """

    def __init__(self, content: bytes) -> None:
        self.content, self.position = content, 0

    def struct(self, depth: int = 0) -> dict[int, Any]:
        if depth > _MAX_DEPTH:
            raise PageError("the header of a page is nested too deeply")
        fields: dict[int, Any] = {}
        field = 0
        while kind := (head := self.byte()) & 0x0F:
            step = head >> 4
            field = field + step if step else self.number()
            fields[field] = self.value(kind, depth)
        return fields

    def value(self, kind: int, depth: int) -> Any:
        if kind in (1, 2):
            return kind == 1
        if kind == 3:
            return self.byte()
        if kind in (4, 5, 6):
            return self.number()
        if kind == 8:
            length = self.varint()
            self.position += length
            if self.position > len(self.content):
                raise IndexError
            return None  # the least or the greatest value
        if kind == 12:
            return self.struct(depth + 1)
        raise PageError(f"the header of a page holds a field of kind {kind}")

    def byte(self) -> int:
        value = self.content[self.position]
        self.position += 1
        return value

    def varint(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise PageError("the header of a page holds a number without an end")

    def number(self) -> int:
        value = self.varint()
        return (value >> 1) ^ -(value & 1)
