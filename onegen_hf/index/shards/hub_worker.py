"""`HubWorker`: a worker on one of several machines that meet in a repository of the Hub."""

from __future__ import annotations

import json
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ...data.streaming import PassageStream
from ...files import write_text_atomically
from .encoder import ShardEncoder
from .layout import ShardFolder
from .leases import Leases
from .manifest import Manifest
from .progress import Progress
from .repository import RepositoryState, ShardRepository
from .reuse import EarlierVectors
from .shard import SHARD_FILES, SUMMARY_FILE, Shard, ShardSummary
from .staging import CorpusSettings
from .worker import Worker

logger = logging.getLogger(__name__)

_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.1, 30.0
_FORMAT_VERSION = 1
_DOWNLOADS = 8


class HubWorker(Worker):
    """
    Encodes shards into a folder of this machine, which its other workers share, and sends each to the repository.

    The listing of the repository says which shards are done. Every machine does its own share (each
    `num_machines`-th shard) in ascending order, and then what the others have not done yet, beginning at the end.

    Args:
        folder ([`ShardFolder`]), corpus ([`CorpusSettings`]), leases ([`Leases`]), progress ([`Progress`]): As for
            [`Worker`].
        repository ([`ShardRepository`])
        machine_rank (`int`), num_machines (`int`)

    Attributes:
        wrote_manifest (`bool`): Whether this worker was the one that saw all shards first.
    """

    def __init__(
        self,
        folder: ShardFolder,
        corpus: CorpusSettings,
        leases: Leases,
        progress: Progress,
        repository: ShardRepository,
        machine_rank: int,
        num_machines: int,
    ) -> None:
        super().__init__(folder, corpus, leases, progress)
        self.repository = repository
        self.machine_rank, self.num_machines = machine_rank, num_machines
        self.wrote_manifest = False
        self._elsewhere: set[int] = set()

    def run(self, stream: PassageStream, encoder: ShardEncoder, earlier: EarlierVectors | None) -> None:
        pause = _SHORTEST_PAUSE
        while (staging := self.folder.staging()) is None:
            if not self.stage(stream):
                time.sleep(pause)
        self._meet(staging, encoder)
        while not (state := self._look()).is_complete:
            if self._send_any(state) or self._encode_any(encoder, earlier) or self._complete(state, staging):
                pause = _SHORTEST_PAUSE
            else:
                time.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            self.progress.refresh()

    def open_shards(self) -> list[int]:
        """The shards that neither this machine nor the repository has, in the order in which they are to be done."""
        missing = [shard for shard in super().open_shards() if shard not in self._elsewhere]
        share = [shard for shard in missing if shard % self.num_machines == self.machine_rank]
        others = [shard for shard in missing if shard % self.num_machines != self.machine_rank]
        return share + others[::-1]

    def is_done(self, shard: int) -> bool:
        return super().is_done(shard) or shard in self._look().finished

    def _look(self) -> RepositoryState:
        state = self.repository.state()
        self._elsewhere = state.finished
        self.progress.done_elsewhere = self._elsewhere
        return state

    def _meet(self, staging: dict[str, Any], encoder: ShardEncoder) -> None:
        """
        Say which corpus and model the repository is for, or compare them with those that are there.

        Raises:
            `ValueError`: If they differ, or the corpus is cut in another way.
        """
        content = {
            "format_version": _FORMAT_VERSION,
            "shard_size": self.corpus.shard_size,
            "deduplicate": self.corpus.deduplicate,
            **staging,
        }
        files: dict[str, Path | bytes] = {
            "corpus.json": (json.dumps(content, sort_keys=True) + "\n").encode(),
            "encoding.json": self.folder.encoding_file,
        }
        self.repository.add(files, "Begin an encoding", lambda state: "corpus.json" in state.files)
        state = self._look()
        adopt_encoding(self.repository, state, self.folder, encoder)
        stored = self.repository.read("corpus.json", state) or {}
        differences = [f"{name} is {stored.get(name)!r} there and {content[name]!r} here" for name in content
                       if stored.get(name) != content[name]]  # fmt: skip
        if differences:
            raise ValueError(
                f"{self.repository} holds the shards of another corpus, or of one that is cut in another way: "
                f"{', '.join(differences)}. Give the same corpus and settings on all machines, or another repository"
            )

    def _send_any(self, state: RepositoryState) -> bool:
        return any(self._send(shard) for shard in sorted(self.folder.finished() - state.finished))

    def _send(self, shard: int) -> bool:
        """Send an encoded shard, if no other worker of this machine does; whether this one did."""
        with self.leases.claim(f"sending-{shard:08d}") as lease:
            if lease is None:
                return False
            path = self.folder.shard(shard)
            Shard(path).check()
            files = {f"shards/{path.name}/{name}": path / name for name in SHARD_FILES}
            if not self.repository.add(files, f"Add shard {shard}", lambda state: shard in state.finished):
                logger.info("another machine has sent shard %d before", shard)
            return True

    def _complete(self, state: RepositoryState, staging: dict[str, Any]) -> bool:
        """Send the manifest if all shards are there; whether this worker did."""
        if len(state.finished) < staging["shards"]:
            return False
        with self.leases.claim("manifest") as lease:
            if lease is None:
                return False
            with ThreadPoolExecutor(_DOWNLOADS) as pool:
                summaries = list(pool.map(lambda shard: self._summary(shard, state), range(staging["shards"])))
            encoding = self.repository.read("encoding.json", state) or {}
            manifest = Manifest.of(self.folder, encoding, staging, summaries)
            content = {"manifest.json": manifest.to_json().encode()}
            self.wrote_manifest = self.repository.add(content, "All shards are there", lambda s: s.is_complete)
            return True

    def _summary(self, shard: int, state: RepositoryState) -> ShardSummary:
        summary = ShardSummary(**(self.repository.read(f"shards/{shard:08d}/{SUMMARY_FILE}", state) or {}))
        if summary.number != shard:
            raise ValueError(
                f"{self.repository}/shards/{shard:08d} is another shard, number {summary.number}: delete it there, "
                "and encode again; only this shard is encoded"
            )
        return summary


def join_repository(repository: ShardRepository, folder: ShardFolder, encoder: ShardEncoder) -> bool:
    """
    Make the repository, or compare the model and the settings with those that encode there.

    Args:
        repository ([`ShardRepository`])
        folder ([`ShardFolder`]): Of this machine.
        encoder ([`ShardEncoder`])

    Returns:
        `bool`: Whether all shards are there already.

    Raises:
        `ValueError`: If another model, or other settings, encode there.
        `OSError`: If this user may not write to the repository, or the Hub does not answer.
    """
    repository.open()
    state = repository.state()
    if "encoding.json" in state.files:
        adopt_encoding(repository, state, folder, encoder)
    return state.is_complete


def adopt_encoding(
    repository: ShardRepository, state: RepositoryState, folder: ShardFolder, encoder: ShardEncoder
) -> None:
    """
    Compare the model with the one that encodes in the repository, whose description takes the place of this machine's:
    its last digits may differ, and all machines are to write the same manifest.

    Raises:
        `ValueError`: If it is another model, or has other settings.
    """
    stored = repository.read("encoding.json", state) or {}
    encoder.require_same(stored, repository)
    write_text_atomically(folder.encoding_file, json.dumps(stored, sort_keys=True) + "\n")
