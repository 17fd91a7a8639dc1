"""`onegen-hf index --shards`: encodes a corpus of any size, alone or with others that run the same command."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from .index_arguments import IndexArguments

_MERGED = "index"
_DEVICE_OF_PROCESS = "LOCAL_RANK"
"""What `accelerate launch` and `torchrun` call the number of a process on its machine, and so of its accelerator."""


def index_in_shards(options: IndexArguments, shards: str) -> Any:
    """
    Encode a corpus in shards and merge them.

    Args:
        options ([`IndexArguments`])
        shards (`str`): The folder of the shards.

    Returns:
        [`PassageIndex`]
    """
    from ..data.streaming import stream_documents

    stream = stream_documents(options.passages, options.split)  # before the model is loaded, which takes longer
    from ..index.shards import encode_shards
    from ..index.shards.merge import merge_together

    settings = {**shard_settings(options), "update": options.update}
    if options.runner == "ray":
        from ..index.shards.ray_runner import encode_shards_on_ray

        encode_shards_on_ray(
            options.checkpoint(),
            stream,
            shards,
            workers=options.workers,
            preset=options.preset,
            dtype=options.dtype,
            device=options.device,
            max_tokens_per_passage=options.piece_tokens(options.load_settings()),
            **settings,
        )
    else:
        model, piece_tokens = load_encoder(options)
        encode_shards(model, options.load_tokenizer(), stream, shards, max_tokens_per_passage=piece_tokens, **settings)
    return merge_together(shards, options.output_dir, **storage_settings(options))


def index_on_hub(options: IndexArguments, shards: str) -> str:
    """
    Encode a corpus with other machines, which meet in a repository of the Hub. The one that sees first that all shards
    are there merges them, and sends the index to the same repository.

    Args:
        options ([`IndexArguments`])
        shards (`str`): The folder of this machine.

    Returns:
        `str`: What to tell the user.
    """
    from ..data.streaming import stream_documents

    stream = stream_documents(options.passages, options.split)
    from ..index.publish import index_upload
    from ..index.shards import encode_shards_on_hub, fetch_shards
    from ..index.shards.merge import merge_together
    from ..index.shards.repository import ShardRepository

    repository = ShardRepository(options.output_dir)
    model, piece_tokens = load_encoder(options)
    manifest, is_ours = encode_shards_on_hub(
        model,
        options.load_tokenizer(),
        stream,
        shards,
        options.output_dir,
        machine_rank=options.machine_rank,
        num_machines=options.num_machines,
        private=options.private or None,
        max_tokens_per_passage=piece_tokens,
        **shard_settings(options),
    )
    if not is_ours:
        return f"{manifest.num_passages} passages encoded in {repository}; another machine merges them"
    fetch_shards(options.output_dir, shards)
    merged = Path(shards) / _MERGED
    index = merge_together(shards, merged, **storage_settings(options))
    index_upload(merged, repository.repo_id).push(commit_message="Merge the shards")
    return f"{index} saved to {repository.repo_id}"


def load_encoder(options: IndexArguments) -> tuple[Any, int | None]:
    """The model on the device of this process, and the most tokens of a piece of a passage."""
    from ..index.shards.merge import check_storage
    from ..modeling.projection import embedding_size

    options.device = device_of_process(options.device)
    model = options.load_model()
    check_storage(embedding_size(model), **storage_settings(options))
    return model, options.piece_tokens(model.onegen_config)


def shard_settings(options: IndexArguments) -> dict[str, Any]:
    """What every runner takes."""
    return {
        "shard_size": options.shard_size,
        "batch_size": options.batch_size,
        "deduplicate": options.deduplicate,
        "precision": options.shard_precision,
        "model_id": options.model_name(),
    }


def storage_settings(options: IndexArguments) -> dict[str, Any]:
    """How the index keeps its vectors."""
    return {
        "factory": options.factory,
        "backend": options.backend,
        "dimensions": options.dimensions,
        "precision": options.precision,
    }


def device_of_process(device: str) -> str:
    """The device that `auto` means for one of several processes of a machine: each has an accelerator of its own."""
    if device != "auto" or _DEVICE_OF_PROCESS not in os.environ:
        return device
    import torch

    accelerator = torch.accelerator.current_accelerator()
    if accelerator is None or not torch.accelerator.is_available():
        return "cpu"
    return f"{accelerator.type}:{int(os.environ[_DEVICE_OF_PROCESS]) % torch.accelerator.device_count()}"
