"""Writing files and folders in one step, one process at a time."""

from __future__ import annotations

import logging
import os
import re
import shutil
import socket
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

logger = logging.getLogger(__name__)

LOCK_FILE = ".lock"
_HOST = re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())[:64]
_ABANDONED_SECONDS = 24 * 3600
"""Age at which a temporary of another machine, whose processes cannot be seen, counts as abandoned."""


class FolderLockedError(OSError):
    """Another process is writing to a folder."""


@contextmanager
def locked_folder(path: str | os.PathLike[str], purpose: str) -> Iterator[Path]:
    """
    Keep every other process, and every other thread of this one, from writing to a folder.

    The thread that holds the lock may take it again, so that a command can lock its output folder as a whole while the
    functions that it calls lock the same folder for themselves. A killed process holds nothing, and no file is left
    behind after the lock is released.

    Args:
        path (`str` or path): Created if it is missing.
        purpose (`str`): What the folder is wanted for, as a noun: `"training"`, `"an index"`.

    Yields:
        `Path`: The folder.

    Raises:
        [`FolderLockedError`]: At once, if another process or thread holds the lock.
        `OSError`: If the folder cannot be created or written to.
    """
    folder = Path(path)
    lock = _acquired(folder, purpose)
    try:
        yield folder
    finally:
        if lock.lock_counter == 1:
            with suppress(OSError):  # Windows deletes the file by itself when the lock is released
                Path(lock.lock_file).unlink()
        lock.release()


def _acquired(folder: Path, purpose: str) -> FileLock:
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = folder.resolve() / LOCK_FILE
            handle = open(file, "a")
        except OSError as error:
            raise OSError(
                f"{folder} cannot be written to ({error}), so it cannot be used for {purpose}: choose another folder"
            ) from error
        with handle:
            lock = FileLock(file, timeout=0, is_singleton=True)
            try:
                lock.acquire()
            except Timeout:
                raise FolderLockedError(
                    f"another process is writing to {folder}, so it cannot be used for {purpose} now: wait until that "
                    "process ends, or choose another folder"
                ) from None
            # The holder before us deletes the file: a lock on a deleted file would exclude nobody.
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(handle.fileno()), file.stat()):
                    return lock
            lock.release()


@contextmanager
def atomic_file(path: Path, *library_errors: type[Exception]) -> Iterator[Path]:
    """
    Write a file in one step: yields a temporary path beside `path` and renames it to `path` at the end.

    A reader sees the old content or the new, even after a power cut. After an error nothing is left; what a killed
    process has left of the same file is deleted by the next one. The file has the permissions of any new file, whoever
    writes it: those of safetensors are for their owner alone, and no other user of a shared folder could read them.

    Args:
        path (`Path`)
        library_errors (`type[Exception]`): Errors with which a library reports that it could not write, such as
            `SafetensorError`; they become an `OSError` that names the file.

    Raises:
        `OSError`: If the file cannot be written, for instance because the disk is full.
    """
    temporary = _temporary(path)
    try:
        with errors_naming(path, *library_errors):
            temporary.touch()
            permissions = stat.S_IMODE(temporary.stat().st_mode)
            yield temporary
            os.chmod(temporary, permissions)
            _flush_to_disk(temporary)
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def errors_naming(path: Path, *library_errors: type[Exception]) -> Iterator[None]:
    """
    Let the errors of a block name a file or folder, where they name nothing, as those of a full disk do, or a
    temporary that has taken its place.

    Args:
        path (`Path`)
        library_errors (`type[Exception]`): As for [`atomic_file`].
    """
    try:
        yield
    except library_errors as error:
        raise OSError(f"{path} could not be written ({error}): free some space, or choose another folder") from error
    except OSError as error:
        named = None if error.filename is None else Path(os.fsdecode(error.filename))
        if error.errno is None or (named is not None and not _is_temporary_of(named, path)):
            raise
        raise type(error)(error.errno, error.strerror, str(path)) from error


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """
    Make a folder in one step: yields an empty one beside `path` and renames it to `path` at the end.

    If another process has made the same folder meanwhile, that one stays. After an error nothing is left; what a
    killed process has left is deleted by the next one.
    """
    temporary = _temporary(path)
    shutil.rmtree(temporary, ignore_errors=True)  # in a container, the process before us had our number
    temporary.mkdir(parents=True)
    try:
        with errors_naming(path):
            yield temporary
            for file in temporary.iterdir():
                _flush_to_disk(file)
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


def delete_abandoned(path: Path) -> None:
    """
    Delete the temporaries that killed processes left beside a file or folder; [`atomic_file`] and [`atomic_folder`] do
    so by themselves.

    Args:
        path (`Path`): What they would have become.
    """
    pattern = re.compile(rf"\.{re.escape(path.name)}(?:\.(?P<host>[A-Za-z0-9-]+))?\.(?P<pid>\d+)(?:-\d+)?\.tmp")
    try:
        siblings = list(os.scandir(path.parent))
    except FileNotFoundError:
        return
    for sibling in siblings:
        match = pattern.fullmatch(sibling.name)
        if match is None or not _is_abandoned(sibling, match["host"], int(match["pid"])):
            continue
        logger.info("deleting %s, which a killed process left behind", sibling.path)
        with suppress(OSError):  # of another user, or another process was faster
            if sibling.is_dir(follow_symlinks=False):
                shutil.rmtree(sibling.path)
            else:
                os.unlink(sibling.path)


def _is_abandoned(temporary: os.DirEntry[str], host: str | None, pid: int) -> bool:
    if host in (_HOST, None) and not psutil.pid_exists(pid):
        return True
    with suppress(FileNotFoundError):
        return time.time() - temporary.stat(follow_symlinks=False).st_mtime > _ABANDONED_SECONDS
    return False


def _temporary(path: Path) -> Path:
    delete_abandoned(path)
    return path.with_name(f".{path.name}.{_HOST}.{os.getpid()}-{threading.get_native_id()}.tmp")


def _is_temporary_of(file: Path, path: Path) -> bool:
    parts = (file, *file.parents)
    return any(part.parent == path.parent and part.match(f".{path.name}.*.tmp") for part in parts)


def _flush_to_disk(file: Path) -> None:
    with open(file, "rb+") as handle:
        os.fsync(handle.fileno())
