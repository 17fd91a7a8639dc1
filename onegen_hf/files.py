"""Writing files in one step, so that a kill leaves the old content or the new, never half of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """
    Write a file in one step: yields a temporary path beside `path` and renames it to `path` at the end.

    A reader sees the old content or the new, also after a power cut; after an error nothing is left.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with open(temporary, "rb+") as handle:
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text_atomically(path: Path, text: str) -> None:
    """Replace a text file, UTF-8, as [`atomic_file`] does."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
