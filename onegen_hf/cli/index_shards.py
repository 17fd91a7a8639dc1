"""`onegen-hf index --shards`: encodes a corpus of any size, alone or with others that run the same command."""

from __future__ import annotations

import os
from typing import Any

from .index_arguments import IndexArguments

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
    from ..index.shards.merge import check_storage, merge_together
    from ..modeling.projection import embedding_size

    settings: dict[str, Any] = {
        "shard_size": options.shard_size,
        "batch_size": options.batch_size,
        "deduplicate": options.deduplicate,
        "precision": options.shard_precision,
        "update": options.update,
        "model_id": options.model_name(),
    }
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
        options.device = device_of_process(options.device)
        model = options.load_model()
        hidden = embedding_size(model)
        check_storage(hidden, options.factory, options.backend, options.dimensions, options.precision)
        piece_tokens = options.piece_tokens(model.onegen_config)
        encode_shards(model, options.load_tokenizer(), stream, shards, max_tokens_per_passage=piece_tokens, **settings)
    return merge_together(
        shards,
        options.output_dir,
        factory=options.factory,
        backend=options.backend,
        dimensions=options.dimensions,
        precision=options.precision,
    )


def device_of_process(device: str) -> str:
    """The device that `auto` means for one of several processes of a machine: each has an accelerator of its own."""
    if device != "auto" or _DEVICE_OF_PROCESS not in os.environ:
        return device
    import torch

    accelerator = torch.accelerator.current_accelerator()
    if accelerator is None or not torch.accelerator.is_available():
        return "cpu"
    return f"{accelerator.type}:{int(os.environ[_DEVICE_OF_PROCESS]) % torch.accelerator.device_count()}"
