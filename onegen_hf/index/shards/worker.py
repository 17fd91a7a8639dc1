"""`encode_shards`: encodes a corpus of any size, alone or together with other processes and machines."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from ...checks import checked, choice, flag, integer, number, optional, path, text
from ...data.streaming import PassageStream
from .encoder import EncodingSettings, ShardEncoder
from .generations import open_generation, remove_earlier
from .layout import ShardFolder, read_json
from .leases import LeaseLostError, Leases
from .manifest import Manifest
from .progress import Progress
from .reuse import EarlierVectors
from .shard import DTYPES
from .staging import CorpusSettings, require_same_beginning, stage, staged_passages

logger = logging.getLogger(__name__)

_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.05, 2.0


RULES: dict[str, Any] = {
    "folder": path(),
    "shard_size": integer(least=1),
    "batch_size": optional(integer(least=1)),
    "max_batch_tokens": optional(integer(least=1)),
    "max_tokens_per_passage": optional(integer(least=1)),
    "deduplicate": flag(),
    "precision": choice(list(DTYPES)),
    "show_progress": flag(),
    "model_id": optional(text()),
    "revision": optional(text()),
}
"""Of the arguments that a shared folder and a repository of the Hub have in common."""


@checked(update=flag(), lease_seconds=number(above=0), **RULES)
def encode_shards(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    passages: Iterable[Any],
    folder: str | os.PathLike[str],
    shard_size: int = 10_000,
    batch_size: int | None = None,
    max_batch_tokens: int | None = None,
    max_tokens_per_passage: int | None = None,
    deduplicate: bool = False,
    precision: str = "float32",
    update: bool = False,
    lease_seconds: float = 60.0,
    show_progress: bool = True,
    model_id: str | None = None,
    revision: str | None = None,
) -> Manifest:
    """
    Encode a corpus shard by shard, with the memory of one shard.

    Call it with the same arguments in any number of processes, on any machines that share `folder`, and they split
    the shards among them. A process may be killed at any time and others may join: shards that are finished stay, the
    one that it was working on is taken over. Every process returns when the whole corpus is encoded. What is on disk
    then does not depend on how many there were: batches are formed within a shard.

    Args:
        model (`OneGenForCausalLM`)
        tokenizer (`PreTrainedTokenizerBase`)
        passages (`Iterable` or [`PassageStream`]): As for [`PassageIndex.build`], or a stream of
            [`stream_documents`]. One process reads it once, from the beginning; after a kill another one reads it
            again.
        folder (`str` or path): Of the shards; created if it is missing.
        shard_size (`int`, *optional*, defaults to 10,000): Passages per shard. A kill costs at most one shard.
        batch_size (`int`, *optional*): Most passages per batch; by default 32, and no limit on a GPU.
        max_batch_tokens (`int`, *optional*): Most token positions per batch; by default 16384, and 65536 on a GPU.
        max_tokens_per_passage (`int`, *optional*): As for [`PassageIndex.build`].
        deduplicate (`bool`, *optional*, defaults to `False`): Leave out passages whose title and text are those of an
            earlier one.
        precision (`str`, *optional*, defaults to `"float32"`): Of the vectors on disk, or `"float16"`.
        update (`bool`, *optional*, defaults to `False`): If the folder holds a finished encoding of another corpus,
            encode this one, and take over the vectors of all passages whose text has not changed.
        lease_seconds (`float`, *optional*, defaults to 60.0): How long a worker on another machine may be silent
            before its shard is taken over. One that was killed on this machine is noticed at once.
        show_progress (`bool`, *optional*, defaults to `True`): Show how far all workers are.
        model_id (`str`, *optional*), revision (`str`, *optional*): As for [`PassageIndex.build`].

    Returns:
        [`Manifest`]: For [`merge_shards`].

    Raises:
        `TypeError` or `ValueError`: If the corpus is empty, ids repeat, a passage has no text or is longer than the
            model's context, an embedding holds NaN, or the folder belongs to another corpus, model or setting.
        `OSError`: If the folder cannot be written to, for instance because the disk is full.

    Example:

    ```python
    >>> manifest = encode_shards(model, tokenizer, stream_documents("corpus.jsonl"), "shards")
    >>> index = merge_shards("shards", "my-index", factory="IVF4096,SQ8")
    ```
    """
    stream = PassageStream.of(passages)
    corpus = CorpusSettings(stream.identity, shard_size, deduplicate)
    settings = EncodingSettings(batch_size, max_batch_tokens, max_tokens_per_passage, precision)
    encoder = ShardEncoder(model, tokenizer, settings, model_id, revision)
    shards, earlier = open_generation(Path(folder), corpus, update)
    vectors = earlier_vectors(earlier, shards, encoder)
    corpus.join(shards)
    encoder.join(shards)
    require_same_beginning(shards, stream, corpus)
    leases = Leases(shards.leases, lease_seconds)
    with Progress(shards, leases.worker, shard_size, lease_seconds, show_progress) as progress:
        Worker(shards, corpus, leases, progress).run(stream, encoder, vectors)
    return finished_encoding(shards)


class Worker:
    """
    One of the processes that encode a corpus: does what is there to do until all is done.

    Args:
        folder ([`ShardFolder`])
        corpus ([`CorpusSettings`])
        leases ([`Leases`])
        progress ([`Progress`])
    """

    def __init__(self, folder: ShardFolder, corpus: CorpusSettings, leases: Leases, progress: Progress) -> None:
        self.folder, self.corpus, self.leases, self.progress = folder, corpus, leases, progress

    def run(self, stream: PassageStream, encoder: ShardEncoder, earlier: EarlierVectors | None) -> None:
        """Stage, encode and finish, until the encoding is finished, by this worker or others."""
        pause = _SHORTEST_PAUSE
        while not self.folder.manifest_file.exists():
            if self.stage(stream) or self._encode_any(encoder, earlier) or self.finish():
                pause = _SHORTEST_PAUSE
            else:
                time.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            self.progress.refresh()

    def stage(self, stream: PassageStream) -> bool:
        """Stage the corpus, if no other worker does; whether this one did."""
        if self.folder.staged_file.exists():
            return False
        with self.leases.claim("staging") as lease:
            if lease is None or self.folder.staged_file.exists():
                return False

            def advance(passages: int) -> None:
                lease.check()
                self.progress.refresh()

            try:
                stage(self.folder, stream, self.corpus, advance)
            except LeaseLostError:
                logger.info("another worker stages the corpus now")
            return True

    def encode(self, shard: int, encoder: ShardEncoder, earlier: EarlierVectors | None) -> bool:
        """Encode a staged shard, if no other worker does; whether this one did."""
        with self.leases.claim(f"shard-{shard:08d}") as lease:
            if lease is None or self.folder.shard(shard).is_dir():
                return False

            def advance(passages: int) -> None:
                lease.check()
                self.progress.advance(passages)

            self.progress.start_shard()
            try:
                passages = staged_passages(self.folder, shard, self.corpus)
                encoder.encode_shard(self.folder, shard, passages, advance, earlier)
            except LeaseLostError as error:
                logger.info("%s", error)
            except (ValueError, OSError):
                # Another worker may have taken over, finished, and deleted what this one was reading.
                if not self.is_done(shard):
                    raise
            self.progress.start_shard()
            return True

    def is_done(self, shard: int) -> bool:
        """Whether a shard is encoded."""
        return self.folder.shard(shard).is_dir()

    def open_shards(self) -> list[int]:
        """The staged shards that are not encoded."""
        staging = self.folder.staging()
        if staging is None and self.corpus.deduplicate:
            return []  # which passages repeat is known when all are staged
        finished = self.folder.finished()
        count = self.folder.num_staged() if staging is None else staging["shards"]
        return [shard for shard in range(count) if shard not in finished]

    def finish(self) -> bool:
        """Write the manifest if all shards are encoded; whether this worker did."""
        staging = self.folder.staging()
        if staging is None or len(self.folder.finished()) < staging["shards"]:
            return False
        with self.leases.claim("manifest") as lease:
            if lease is None or self.folder.manifest_file.exists():
                return False
            Manifest.write(self.folder, staging)
            return True

    def _encode_any(self, encoder: ShardEncoder, earlier: EarlierVectors | None) -> bool:
        return any(self.encode(shard, encoder, earlier) for shard in self.open_shards())


def finished_encoding(folder: ShardFolder) -> Manifest:
    """The manifest of an encoding that has just been finished; what only its workers needed is deleted."""
    folder.clean_up()
    remove_earlier(folder)
    manifest = Manifest.read(folder)
    warn_of_truncation(manifest)
    return manifest


def warn_of_truncation(manifest: Manifest) -> None:
    """Say how many passages were cut, if any."""
    if manifest.truncated:
        logger.warning(
            "%d of %d passages were cut before embedding. Split them with max_tokens_per_passage, or raise "
            "max_embedded_tokens in OneGenConfig.",
            manifest.truncated,
            manifest.num_passages,
        )


def earlier_vectors(earlier: ShardFolder | None, folder: ShardFolder, encoder: ShardEncoder) -> EarlierVectors | None:
    """
    What an earlier encoding has computed, for the update of it.

    Raises:
        `ValueError`: If another model, or other settings, made it.
    """
    if earlier is None:
        return None
    try:
        encoder.require_same(read_json(earlier.encoding_file) or {}, earlier.root)
        return EarlierVectors(earlier)
    except (ValueError, OSError):
        if not folder.manifest_file.exists():  # else others have finished, and deleted the earlier one
            raise
        return None
