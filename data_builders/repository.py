"""A dataset repository on disk: replaced as a whole, with the README that `load_dataset` reads written last."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from os import PathLike
from pathlib import Path

from filelock import FileLock, Timeout

_SPLIT_NAME = re.compile(r"\w+(\.\w+)*")
_UNFINISHED, _LOCK = ".building", ".building.lock"


def check_split(name: str) -> str:
    """
    Give back the name of a split if `datasets` accepts it.

    Raises:
        `ValueError`: If it holds something else than letters, digits, `_` and dots between them.
    """
    if not _SPLIT_NAME.fullmatch(name):
        raise ValueError(f"the split {name!r} has no valid name; use letters, digits and `_`.")
    return name


class RepositoryLockedError(OSError):
    """Another process, or another thread of this one, is writing the repository."""


@contextmanager
def locked_repository(out_dir: str | PathLike[str]) -> Iterator[Path]:
    """
    Keep everybody else from writing a repository. A killed process holds nothing.

    Args:
        out_dir (`str` or `PathLike`):
            The folder; made if needed.

    Returns:
        `Iterator[Path]`: The folder, as a context manager.

    Raises:
        `RepositoryLockedError`: At once, if somebody else is writing it.
        `OSError`: If nothing can be written there.
    """
    root = Path(out_dir)
    root.mkdir(parents=True, exist_ok=True)
    lock = _acquired(root)
    try:
        yield root
    finally:
        with suppress(OSError):  # on Windows the release deletes it
            (root / _LOCK).unlink()
        lock.release()


def _acquired(root: Path) -> FileLock:
    while True:
        with (root / _LOCK).open("a") as opened:
            lock = FileLock(root / _LOCK, timeout=0)
            try:
                lock.acquire()
            except Timeout:
                raise RepositoryLockedError(
                    f"{root}: another build is writing this folder; wait until it ends, or choose another folder."
                ) from None
            # The holder before us deletes the file: a lock on a deleted file would exclude nobody.
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(opened.fileno()), (root / _LOCK).stat()):
                    return lock
            lock.release()


@contextmanager
def replaced_repository(out_dir: str | PathLike[str]) -> Iterator[Path]:
    """
    Give a folder to write a repository into, and put it in place of the one in `out_dir` when all went well.

    Until then `out_dir` keeps what it has, and no other build writes there. The README goes first and comes last, so
    that a build that is killed in between leaves nothing that looks whole; the next build removes what it left. Only
    the README, the report and the Parquet files of the two configs are replaced.

    Args:
        out_dir (`str` or `PathLike`):
            The folder of the repository; made if needed.

    Returns:
        `Iterator[Path]`: The folder to write into, as a context manager.

    Raises:
        `RepositoryLockedError`: At once, if another build is writing there.
    """
    with locked_repository(out_dir) as root:
        unfinished = root / _UNFINISHED
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        try:
            yield unfinished
            (root / "README.md").unlink(missing_ok=True)
            for old in (*root.glob("documents/*.parquet"), *root.glob("examples/*.parquet")):
                old.unlink()
            files = (file.relative_to(unfinished) for file in sorted(unfinished.rglob("*")) if file.is_file())
            for file in sorted(files, key=lambda file: file.name == "README.md"):
                (root / file).parent.mkdir(exist_ok=True)
                (unfinished / file).replace(root / file)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
