"""Writing files in one step, so that a kill leaves the old content or the new, never half of it."""

from __future__ import annotations

import os
import shutil
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


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """
    Make a folder in one step: yields an empty one beside `path` and renames it to `path` at the end.

    If there is one by then, as another process made the same, that one stays. After an error nothing is left.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.mkdir(parents=True)
    try:
        yield temporary
        for file in temporary.iterdir():
            with open(file, "rb+") as handle:
                os.fsync(handle.fileno())
        try:
            os.replace(temporary, path)
        except OSError:
            if not path.is_dir():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_text_atomically(path: Path, text: str) -> None:
    """Replace a text file, UTF-8, as [`atomic_file`] does."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
