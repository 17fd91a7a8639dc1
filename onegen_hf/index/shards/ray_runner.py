"""`encode_shards_on_ray`: the shards of a corpus, distributed over a cluster by Ray Data."""

from __future__ import annotations

import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ...checks import checked, integer, number, optional, path, text
from ...data.streaming import PassageStream
from ...importing.extras import require
from ...modeling.auto import OneGenForCausalLM
from ...modeling.tokenizers import load_tokenizer
from .encoder import EncodingSettings, ShardEncoder
from .generations import open_generation
from .layout import ShardFolder
from .leases import Leases
from .manifest import Manifest
from .progress import Progress
from .staging import CorpusSettings, require_same_beginning
from .worker import Worker, earlier_vectors, finished_encoding

_PAUSE = 1.0
_ERRORS: dict[str, type[Exception]] = {
    kind.__name__: kind for kind in (FileNotFoundError, OSError, ValueError, TypeError, ImportError)
}
"""What the driver raises again; anything else is a fault of ours, and Ray shows its traceback."""


@checked(
    model=text(),
    folder=path(),
    workers=integer(least=1),
    preset=optional(text()),
    dtype=text(),
    device=text(),
    lease_seconds=number(above=0),
)
def encode_shards_on_ray(
    model: str,
    passages: Any,
    folder: str | os.PathLike[str],
    workers: int = 1,
    preset: str | None = None,
    dtype: str = "auto",
    device: str = "auto",
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
    [`encode_shards`] on a Ray cluster, or on this machine where there is none. The result is the same.

    The driver reads the corpus and cuts it into shards. Ray Data starts actors, each of which loads the model, hands
    shards to them, and starts an actor again when it or its machine dies. `folder` must be shared by all machines.
    Workers without Ray may join.

    Args:
        model (`str`): Directory or Hub repository, as every machine of the cluster can load it.
        passages (`Iterable` or [`PassageStream`]), folder (`str` or path): As for [`encode_shards`].
        workers (`int`, *optional*, defaults to 1): Number of actors, each with a GPU if the cluster has any.
        preset (`str`, *optional*), dtype (`str`, *optional*, defaults to `"auto"`), device (`str`, *optional*,
            defaults to `"auto"`): For loading the model.
        shard_size (`int`), batch_size (`int`, *optional*), max_batch_tokens (`int`, *optional*),
            max_tokens_per_passage (`int`, *optional*), deduplicate (`bool`), precision (`str`), update (`bool`),
            lease_seconds (`float`), show_progress (`bool`), model_id (`str`, *optional*), revision (`str`,
            *optional*): As for [`encode_shards`].

    Returns:
        [`Manifest`]

    Raises:
        `ImportError`: If Ray is not installed.
        `TypeError`, `ValueError` or `OSError`: As [`encode_shards`].
    """
    require("ray", "ray", "--runner ray")
    import ray

    stream = PassageStream.of(passages)
    corpus = CorpusSettings(stream.identity, shard_size, deduplicate)
    shards, earlier = open_generation(Path(folder).absolute(), corpus, update)
    corpus.join(shards)
    require_same_beginning(shards, stream, corpus)
    leases = Leases(shards.leases, lease_seconds)
    settings = EncodingSettings(batch_size, max_batch_tokens, max_tokens_per_passage, precision)
    with Progress(shards, leases.worker, shard_size, lease_seconds, show_progress) as progress:
        worker = Worker(shards, corpus, leases, progress)
        while not shards.manifest_file.exists():
            worker.stage(stream)
            open_shards = worker.open_shards()
            if open_shards:
                ray.init(ignore_reinit_error=True, log_to_driver=False)
                constructor = {
                    "folder": shards.root,
                    "earlier": None if earlier is None else earlier.root,
                    "corpus": asdict(corpus),
                    "settings": asdict(settings),
                    "lease_seconds": lease_seconds,
                    "load": {"model": model, "preset": preset, "dtype": dtype, "device": device},
                    "names": (model_id, revision),
                }
                _run(open_shards, workers, constructor, progress)
            if not worker.finish() and worker.open_shards():
                time.sleep(_PAUSE)  # workers without Ray are busy with the rest
    return finished_encoding(shards)


def _run(shards: list[int], workers: int, constructor: dict[str, Any], progress: Progress) -> None:
    import ray

    has_gpu = ray.cluster_resources().get("GPU", 0) > 0 and constructor["load"]["device"] != "cpu"
    # As many blocks as shards: a block is what an actor is handed at a time.
    dataset = ray.data.from_items([{"shard": shard} for shard in shards], override_num_blocks=len(shards))
    dataset = dataset.map_batches(
        _RayEncoder,
        fn_constructor_kwargs=constructor,
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=min(workers, len(shards))),
        num_cpus=1,
        num_gpus=1 if has_gpu else 0,
    )
    for batch in dataset.iter_batches(batch_size=1, prefetch_batches=0):
        progress.refresh()
        if kind := batch["kind"][0]:
            raise _ERRORS[kind](batch["message"][0])


class _RayEncoder:
    """An actor: loads the model once, and encodes the shards that Ray Data hands to it."""

    def __init__(
        self,
        folder: Path,
        earlier: Path | None,
        corpus: dict[str, Any],
        settings: dict[str, Any],
        lease_seconds: float,
        load: dict[str, Any],
        names: tuple[str | None, str | None],
    ) -> None:
        self._error: Exception | None = None
        try:
            shards, leases = ShardFolder(folder), Leases(ShardFolder(folder).leases, lease_seconds)
            model = OneGenForCausalLM.from_pretrained(
                load["model"], preset=load["preset"], dtype=load["dtype"], device_map=load["device"]
            ).eval()
            self._encoder = ShardEncoder(model, load_tokenizer(load["model"]), EncodingSettings(**settings), *names)
            before = None if earlier is None else ShardFolder(earlier)
            self._earlier = earlier_vectors(before, shards, self._encoder)
            self._encoder.join(shards)
            cut = CorpusSettings(**corpus)
            progress = Progress(shards, leases.worker, cut.shard_size, lease_seconds, show=False)
            self._worker = Worker(shards, cut, leases, progress.__enter__())
        except tuple(_ERRORS.values()) as error:  # Ray would start the actor again and again
            self._error = error

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        error = self._error
        try:
            for shard in () if error else batch["shard"].tolist():
                self._worker.encode(shard, self._encoder, self._earlier)
        except tuple(_ERRORS.values()) as raised:
            error = raised
        # As a row: an exception would come back as text in an error of Ray.
        kind = next((name for name, kind in _ERRORS.items() if isinstance(error, kind)), "")
        return {**batch, "kind": np.asarray([kind]), "message": np.asarray([str(error or "")])}
