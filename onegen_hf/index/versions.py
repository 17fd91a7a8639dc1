"""Versions of an index in one directory: a new one takes the place of the old in one step, while others read it."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..files import locked_folder, write_text_atomically
from ..hub.layout import DESCRIPTION_FILE, INDEX_FILES, POINTER_FILE, VERSIONS, current_version

logger = logging.getLogger(__name__)


@contextmanager
def publish_version(directory: str | os.PathLike[str]) -> Iterator[Path]:
    """
    Make an index the current one of a directory, in one step.

    Args:
        directory (`str` or path): Without an index, the new one is written into it; else into a folder beneath it, to
            which `current.json` points in the end. The index that was current until then stays, for those who have
            loaded it; older ones are deleted.

    Yields:
        `Path`: Where to write the index.

    Raises:
        `OSError`: If the directory cannot be written to, or another process is writing to it.
    """
    with locked_folder(directory, "an index") as root:
        present = current_version(root)
        if not (present / DESCRIPTION_FILE).is_file():
            yield root
            return
        versions = root / VERSIONS
        numbers = _numbers(versions)
        new = versions / str(max([*numbers, 0]) + 1)
        shutil.rmtree(new, ignore_errors=True)
        yield new
        write_text_atomically(root / POINTER_FILE, json.dumps({"version": int(new.name)}) + "\n")
        logger.info("%s: version %s is the current one", root, new.name)
        for number in numbers:
            if versions / str(number) != present:
                shutil.rmtree(versions / str(number), ignore_errors=True)
        if present != root:
            for name in INDEX_FILES:
                (root / name).unlink(missing_ok=True)


def drop_versions(directory: Path) -> None:
    """Make the index that lies in a directory itself the current one."""
    (directory / POINTER_FILE).unlink(missing_ok=True)


def _numbers(versions: Path) -> list[int]:
    try:
        return [int(name) for name in os.listdir(versions) if name.isascii() and name.isdigit()]
    except FileNotFoundError:
        return []
