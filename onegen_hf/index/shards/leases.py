"""`Leases`: which worker does what, agreed on through files in a folder that all workers share."""

from __future__ import annotations

import json
import logging
import os
import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from ...files import errors_naming

logger = logging.getLogger(__name__)

_BEATS_PER_LEASE = 4


class LeaseLostError(Exception):
    """Another worker has taken over, because this one showed no sign of life for too long."""


class Lease:
    """
    One piece of work that this worker does and no other one.

    Args:
        path (`Path`): Of the file that says so.
        following (`Path`): Of the file with which another worker would take over.
    """

    def __init__(self, path: Path, following: Path) -> None:
        self.path, self._following = path, following

    def check(self) -> None:
        """
        Raises:
            [`LeaseLostError`]: If another worker has taken over, or the work as a whole is finished.
        """
        if self._following.exists() or not self.path.exists():
            raise LeaseLostError(f"{self.path.name} was taken over by another worker")

    def beat(self) -> None:
        """Show a sign of life."""
        with suppress(OSError):  # the file is gone once all work is finished
            os.utime(self.path)


class Leases:
    """
    The leases of one worker.

    A lease is a file that only one worker can create, `NAME.1`, and that its owner touches from time to time. A lease
    ends with its owner: at once if the process ran on this machine and is gone, else `seconds` after its last sign of
    life. Another worker then creates `NAME.2`, again one only. No file is ever replaced, renamed or deleted, so two
    workers cannot take the same lease, on local disks or on NFS. The file stays when the work is done: what the work
    leaves behind says that it is.

    Args:
        folder (`Path`): Shared by all workers; created if it is missing.
        seconds (`float`): How long a worker on another machine may be silent.
    """

    def __init__(self, folder: Path, seconds: float) -> None:
        self.folder, self.seconds = folder, seconds
        self.worker = f"{_HOST}-{os.getpid()}-{secrets.token_hex(4)}"

    @contextmanager
    def claim(self, name: str) -> Iterator[Lease | None]:
        """
        Take a lease for the duration of a block.

        Args:
            name (`str`): Of the piece of work.

        Yields:
            [`Lease`], *optional*: `None` if another worker has it. After an error in the block others may have it.
        """
        lease = self._taken(name)
        if lease is None:
            yield None
            return
        stop = threading.Event()
        heart = threading.Thread(target=self._beat, args=(lease, stop), daemon=True)
        heart.start()
        failed = True
        try:
            yield lease
            failed = False
        finally:
            stop.set()
            heart.join()
            if failed:
                with suppress(OSError):
                    os.utime(lease.path, (0, 0))  # the last sign of life was long ago

    def _taken(self, name: str) -> Lease | None:
        self.folder.mkdir(parents=True, exist_ok=True)
        generation = 0
        while (self.folder / f"{name}.{generation + 1}").exists():
            generation += 1
        if generation and not self._is_abandoned(self.folder / f"{name}.{generation}"):
            return None
        path = self.folder / f"{name}.{generation + 1}"
        # Known before the file is made: until it says so, others wait for a worker that was killed meanwhile.
        owner = json.dumps({"host": _HOST, "pid": os.getpid(), "started": psutil.Process().create_time()})
        try:
            handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        except FileExistsError:
            return None
        try:
            with errors_naming(path), os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(owner)
        except OSError:
            os.utime(path, (0, 0))  # the disk is full: others need not wait for this worker
            raise
        if generation:
            logger.info("took over %s from a worker that is gone", name)
        return Lease(path, self.folder / f"{name}.{generation + 2}")

    def _is_abandoned(self, path: Path) -> bool:
        try:
            last_sign = path.stat().st_mtime
            owner = json.loads(path.read_text(encoding="utf-8"))
            if owner["host"] == _HOST and not _runs(owner["pid"], owner["started"]):
                return True
        except FileNotFoundError:
            return False  # all work is finished
        except (ValueError, KeyError, TypeError):
            pass  # its owner died, or is busy, between creating and filling it
        return self._now() - last_sign > self.seconds

    def _now(self) -> float:
        """The time by the clock that stamps the files: those of two machines may differ."""
        clock = self.folder / f".clock-{self.worker}"
        clock.touch()
        os.utime(clock)
        return clock.stat().st_mtime

    def _beat(self, lease: Lease, stop: threading.Event) -> None:
        while not stop.wait(self.seconds / _BEATS_PER_LEASE):
            lease.beat()


_HOST = socket.gethostname()


def _runs(pid: int, started: float) -> bool:
    """Whether a process of this machine runs, and is not another one with the same number."""
    try:
        process = psutil.Process(pid)
        return abs(process.create_time() - started) < 2 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
