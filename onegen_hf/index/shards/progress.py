"""`Progress`: how far all workers of an encoding are, seen from one of them."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from types import TracebackType

from tqdm.auto import tqdm

from ...files import write_text_atomically
from .layout import ShardFolder

_SECONDS = 1.0


class Progress:
    """
    A progress bar over the passages of all workers, with their rate and the time left. Each worker writes how many
    passages of its present shard it has done into a file of its own; finished shards speak for themselves.

    Args:
        folder ([`ShardFolder`])
        worker (`str`): Name of this worker.
        shard_size (`int`)
        lease_seconds (`float`): After which a silent worker is not counted any more.
        show (`bool`): Show a bar.

    Attributes:
        done_elsewhere (`set[int]`): Shards that other machines have encoded, which share no folder with this one.
    """

    def __init__(
        self, folder: ShardFolder, worker: str, shard_size: int, lease_seconds: float, show: bool = True
    ) -> None:
        self._folder, self._file = folder, folder.workers / worker
        self._shard_size, self._lease_seconds = shard_size, lease_seconds
        self.done_elsewhere: set[int] = set()
        self._in_shard, self._last = 0, 0.0
        self._bar = tqdm(desc="Encoding", unit="passage", disable=not show, initial=self._done()[0])

    def __enter__(self) -> Progress:
        self._folder.workers.mkdir(parents=True, exist_ok=True)
        self.refresh()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._in_shard = 0
        with suppress(OSError):
            self._file.unlink(missing_ok=True)
        self._show()
        self._bar.close()

    def start_shard(self) -> None:
        """The worker begins with another shard."""
        self._in_shard = 0

    def advance(self, passages: int) -> None:
        """The worker has encoded passages of its shard."""
        self._in_shard = min(self._in_shard + passages, self._shard_size)
        self.refresh()

    def refresh(self) -> None:
        """Tell others and show all, at most once a second."""
        if time.monotonic() - self._last < _SECONDS:
            return
        self._last = time.monotonic()
        with suppress(OSError):  # the folder is gone once all is finished
            write_text_atomically(self._file, str(self._in_shard))
        self._show()

    def _show(self) -> None:
        if self._bar.disable:
            return
        done, workers = self._done()
        staging = self._folder.staging()
        self._bar.total = None if staging is None else staging["passages"]
        self._bar.set_postfix_str(f"{workers} worker{'s' * (workers != 1)}", refresh=False)
        self._bar.update(done - self._bar.n)
        self._bar.refresh()

    def _done(self) -> tuple[int, int]:
        """Passages that are encoded, and the number of workers."""
        finished = self._folder.finished() | self.done_elsewhere
        staging = self._folder.staging()
        passages = len(finished) * self._shard_size
        if staging is not None and staging["shards"] - 1 in finished:
            passages -= staging["shards"] * self._shard_size - staging["passages"]  # the last shard is shorter
        workers = 0
        with suppress(FileNotFoundError):
            for entry in os.scandir(self._folder.workers):
                with suppress(OSError, ValueError):
                    if time.time() - entry.stat().st_mtime < self._lease_seconds:
                        with open(entry.path, encoding="utf-8") as file:
                            passages += int(file.read())
                        workers += 1
        return passages, workers
