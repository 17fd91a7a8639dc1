"""`encode_shards_on_hub`: a corpus encoded by machines that share nothing but a repository of the Hub."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from ...checks import checked, flag, integer, optional
from ...data.streaming import PassageStream
from .encoder import EncodingSettings, ShardEncoder
from .fetch import published_manifest
from .generations import open_generation
from .hub_worker import HubWorker, join_repository
from .leases import Leases
from .manifest import Manifest
from .progress import Progress
from .repository import ShardRepository
from .staging import CorpusSettings
from .worker import RULES, warn_of_truncation

_LEASE_SECONDS = 60.0


@checked(
    machine_rank=integer(least=0),
    num_machines=integer(least=1),
    private=optional(flag()),
    **RULES,
)
def encode_shards_on_hub(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    passages: Iterable[Any],
    folder: str | os.PathLike[str],
    repository: str,
    machine_rank: int = 0,
    num_machines: int = 1,
    private: bool | None = None,
    shard_size: int = 10_000,
    batch_size: int | None = None,
    max_batch_tokens: int | None = None,
    max_tokens_per_passage: int | None = None,
    deduplicate: bool = False,
    precision: str = "float32",
    show_progress: bool = True,
    model_id: str | None = None,
    revision: str | None = None,
) -> tuple[Manifest, bool]:
    """
    [`encode_shards`] on machines that share no folder: finished shards meet in a dataset repository of the Hub. The
    result is the same.

    Every machine reads the whole corpus, stages it in its own `folder`, and encodes there; several processes of a
    machine share its folder. A finished shard is sent at once, as one commit. Before each shard a worker looks at
    what the repository has, so a machine that is started again, or in the place of another one, does what is missing.
    No machine waits for another one: when its own share is done, it takes what the others have not done, beginning
    at the end. In the end a shard that two machines have in hand may be encoded twice; the one that is sent first
    counts.

    Args:
        model (`OneGenForCausalLM`), tokenizer (`PreTrainedTokenizerBase`), passages (`Iterable` or [`PassageStream`]):
            As for [`encode_shards`].
        folder (`str` or path): Of this machine.
        repository (`str`): `hf://datasets/organisation/name`, or a folder in it; made if it is missing.
        machine_rank (`int`, *optional*, defaults to 0), num_machines (`int`, *optional*, defaults to 1): Whose turn a
            shard is. A machine that takes the place of another one gets its rank.
        private (`bool`, *optional*): For a repository that does not exist yet.
        shard_size (`int`), batch_size (`int`, *optional*), max_batch_tokens (`int`, *optional*),
            max_tokens_per_passage (`int`, *optional*), deduplicate (`bool`), precision (`str`), show_progress
            (`bool`), model_id (`str`, *optional*), revision (`str`, *optional*): As for [`encode_shards`].

    Returns:
        `tuple[Manifest, bool]`: The manifest, and whether it falls to this process to merge: it was the first to see
        all shards, or has found them all at its start. [`fetch_shards`] brings the shards for [`merge_shards`].

    Raises:
        `TypeError` or `ValueError`: As [`encode_shards`]; or the repository belongs to another corpus, model or
            setting.
        `OSError`: If the folder cannot be written to, this user may not write to the repository, or the Hub cannot be
            reached for minutes. What is finished stays, and the next call sends it.

    Example:

    ```python
    >>> manifest, is_mine = encode_shards_on_hub(
    ...     model, tokenizer, stream_documents("corpus.jsonl"), "shards", "hf://datasets/org/films", num_machines=4
    ... )
    >>> if is_mine:
    ...     fetch_shards("hf://datasets/org/films", "shards")
    ...     merge_shards("shards", "my-index", factory="IVF4096,SQ8").push_to_hub("org/films")
    ```
    """
    if machine_rank >= num_machines:
        raise ValueError(f"machine_rank={machine_rank} must be below num_machines={num_machines}: count from 0")
    place = ShardRepository(repository, private)
    stream = PassageStream.of(passages)
    corpus = CorpusSettings(stream.identity, shard_size, deduplicate)
    settings = EncodingSettings(batch_size, max_batch_tokens, max_tokens_per_passage, precision)
    encoder = ShardEncoder(model, tokenizer, settings, model_id, revision)
    shards, _ = open_generation(Path(folder), corpus, update=False)
    corpus.join(shards)
    encoder.join(shards)
    was_complete = join_repository(place, shards, encoder)
    leases = Leases(shards.leases, _LEASE_SECONDS)
    with Progress(shards, leases.worker, shard_size, _LEASE_SECONDS, show_progress) as progress:
        worker = HubWorker(shards, corpus, leases, progress, place, machine_rank, num_machines)
        worker.run(stream, encoder, None)
    shards.clean_up()
    manifest = published_manifest(place, place.state(), shards)
    warn_of_truncation(manifest)
    return manifest, was_complete or worker.wrote_manifest
