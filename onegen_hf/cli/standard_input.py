"""Text from standard input: UTF-8 with or without a byte order mark, and an error that names the line if it isn't."""

from __future__ import annotations

import codecs
import io
import logging
import os
import select
import stat
import sys
from collections.abc import Iterator

logger = logging.getLogger(__name__)


def lines_of_standard_input(prompt: str = "") -> Iterator[str]:
    """
    The lines of standard input as they arrive, without their line breaks.

    Args:
        prompt (`str`, *optional*): Printed to standard error before each line, on a terminal.

    Raises:
        `ValueError`: If a line is not UTF-8.
    """
    number = 0
    while True:
        if prompt and sys.stdin.isatty():
            print(prompt, end="", file=sys.stderr, flush=True)
        line = _read_line()
        if not line:
            if not number:
                _warn_of_nothing()
            return
        number += 1
        yield _decode(line, f"line {number} of standard input", first=number == 1).rstrip("\r\n")


def batches_of_standard_input(most: int, prompt: str = "") -> Iterator[list[str]]:
    """
    The lines of standard input, several at a time where more are there already: of a file, or in a pipe.

    Args:
        most (`int`): Lines per batch.
        prompt (`str`, *optional*): As in [`lines_of_standard_input`].

    Raises:
        `ValueError`: If a line is not UTF-8.
    """
    batch: list[str] = []
    for line in lines_of_standard_input(prompt):
        batch.append(line)
        if len(batch) == most or not _more_is_there():
            yield batch
            batch = []
    if batch:
        yield batch


def whole_standard_input() -> str:
    """
    All of standard input as one text.

    Raises:
        `ValueError`: If it is not UTF-8.
    """
    buffer = getattr(sys.stdin, "buffer", None)
    text = _decode(sys.stdin.read() if buffer is None else buffer.read(), "standard input", first=True)
    if not text:
        _warn_of_nothing()
    return text


def _warn_of_nothing() -> None:
    if not sys.stdin.isatty():
        logger.warning("standard input is empty: give texts as arguments, or on standard input")


def _more_is_there() -> bool:
    """Whether a line, or the end, can be read without waiting for another program or a person."""
    if sys.stdin.isatty():
        return False
    buffer = getattr(sys.stdin, "buffer", None)
    try:
        file = sys.stdin.fileno()
        if buffer is None or stat.S_ISREG(os.fstat(file).st_mode):
            return True
        if select.select([file], [], [], 0)[0]:
            return True
        os.set_blocking(file, False)
        try:
            return bool(buffer.peek(1))  # what has been read from the pipe but not yet from its buffer
        finally:
            os.set_blocking(file, True)
    except io.UnsupportedOperation:  # text in memory
        return True
    except (OSError, ValueError):  # Windows knows neither for pipes
        return False


def _read_line() -> str | bytes:
    # A terminal has an encoding of its own; a stream without a buffer holds text already.
    buffer = None if sys.stdin.isatty() else getattr(sys.stdin, "buffer", None)
    return sys.stdin.readline() if buffer is None else buffer.readline()


def _decode(data: str | bytes, where: str, first: bool) -> str:
    if isinstance(data, bytes):
        if first and data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise ValueError("standard input is UTF-16: convert it with `iconv -f UTF-16 -t UTF-8`")
        try:
            data = data.decode()
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{where} is not UTF-8 (byte {data[error.start]:#04x} at position {error.start}): convert it, such as "
                "with `iconv -f LATIN1 -t UTF-8`"
            ) from None
    return data.removeprefix("\ufeff") if first else data
