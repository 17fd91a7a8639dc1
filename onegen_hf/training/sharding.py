"""
Weights, gradients and optimizers that are sharded over processes: FSDP and DeepSpeed's ZeRO.

A forward gathers each layer's weights from all processes, so processes have to run equally many forwards and
backwards, whatever their batches hold.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from accelerate.utils import DistributedType
from peft import PeftModel
from safetensors.torch import load_file
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor
from transformers import TrainingArguments
from transformers.integrations import deepspeed as deepspeed_integration
from transformers.integrations.deepspeed import set_hf_deepspeed_config, unset_hf_deepspeed_config
from transformers.utils import ADAPTER_SAFE_WEIGHTS_NAME

from ..hub.layout import PROJECTION_FILE
from ..modeling.projection import MODULE

CHECKPOINT_WRAPPER = "_checkpoint_wrapped_module."
"""What torch's activation checkpointing adds to the names of parameters."""


def asks_for_sharding(args: TrainingArguments) -> bool:
    """Whether FSDP or DeepSpeed is asked for, by an argument or by the configuration of `accelerate launch`."""
    launched = (os.environ.get(f"ACCELERATE_USE_{name}", "false").lower() for name in ("FSDP", "DEEPSPEED"))
    return bool(args.fsdp or args.deepspeed) or "true" in launched


def check_sharding(trainer: Any) -> None:
    """
    Make sure that weights are sharded where that was asked for.

    Raises:
        `ValueError`: If they would not be: accelerate leaves FSDP and DeepSpeed out on CPUs. Or if they can't be: FSDP
            loses what 8-bit weights carry with them.
    """
    state = trainer.accelerator.state
    for name, kind in (("fsdp", DistributedType.FSDP), ("deepspeed", DistributedType.DEEPSPEED)):
        if getattr(trainer.args, name) and state.distributed_type != kind:
            raise ValueError(
                f"{name} shards nothing here: accelerate runs {state.distributed_type.value} on {state.device.type}. "
                "It needs accelerators and `accelerate launch` (or torchrun); leave it out to train with DDP"
            )
    if trainer.is_fsdp_enabled and getattr(trainer.model, "is_loaded_in_8bit", False):
        raise ValueError(
            "load_in_8bit=True: FSDP can't shard weights of 8 bits. Use load_in_4bit=True with "
            "bnb_4bit_quant_storage=<the dtype of the model>, or train with DDP"
        )


@contextmanager
def loaded_whole() -> Iterator[None]:
    """
    Inside the block models are loaded in one piece, although ZeRO-3 is asked for.

    transformers would shard them while it loads them, and the rows of the retrieval tokens could not be added. They
    are sharded when the training begins.
    """
    reference = deepspeed_integration._hf_deepspeed_config_weak_ref
    config = None if reference is None else reference()
    if config is None:
        yield
        return
    unset_hf_deepspeed_config()
    try:
        yield
    finally:
        set_hf_deepspeed_config(config)


def runs_equal_forwards(trainer: Any) -> bool:
    """
    Whether processes must run equally many forwards and backwards: FSDP and ZeRO-3 gather weights in each, ZeRO-2
    exchanges gradients in each backward.
    """
    return trainer.accelerator.distributed_type in (DistributedType.FSDP, DistributedType.DEEPSPEED)


def shard_tied_rows_once(trainer: Any) -> None:
    """
    Let FSDP2 shard an adapter's embeddings and head with the rest of the model where they share their weight.

    accelerate gives them groups of their own, and does not see that they are tied below PEFT's wrapper of the trained
    token rows; torch refuses a weight in two groups.

    Args:
        trainer ([`OneGenTrainer`]): Its accelerator is changed.
    """
    model, accelerator = trainer.model, trainer.accelerator
    if not isinstance(model, PeftModel) or not accelerator.is_fsdp2:
        return
    prepare = accelerator.prepare

    def prepare_without_groups_for_embeddings(*args: Any, **kwargs: Any) -> Any:
        names = ("get_input_embeddings", "get_output_embeddings")
        for name in names:
            model.__dict__[name] = lambda: None
        try:
            return prepare(*args, **kwargs)
        finally:
            for name in names:
                del model.__dict__[name]

    accelerator.prepare = prepare_without_groups_for_embeddings


def most_on_any_process(count: int, device: torch.device) -> int:
    """The largest of the numbers that the processes call this with."""
    counts = torch.tensor([count], device=device)
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(counts, dist.ReduceOp.MAX)
    return int(counts)


def passage_without_embedding(input_ids: Tensor) -> dict[str, Tensor]:
    """A passage of one token that nothing is compared with, for a process that has none but runs the forward."""
    return {
        "passage_input_ids": input_ids[:1, :1],
        "passage_attention_mask": torch.ones_like(input_ids[:1, :1]),
        "passage_retrieval_positions": torch.full_like(input_ids[:1, :1], -1),
    }


@torch.no_grad()
def load_sharded_adapter(model: Any, directory: str) -> bool:
    """
    Load an adapter's weights from a checkpoint into one that FSDP2 has sharded.

    accelerate reads full state dicts by torch's loader, which asks for every name of a tensor that several modules
    share, as the trained rows of tied embeddings are.

    Args:
        model (`PeftModel`): Sharded.
        directory (`str`): The checkpoint.

    Returns:
        `bool`: Whether they were loaded; `False` where the checkpoint does not hold them in one file.
    """
    file = Path(directory) / ADAPTER_SAFE_WEIGHTS_NAME
    if not isinstance(model, PeftModel) or not file.is_file():
        return False
    saved = load_file(file)
    projection = Path(directory) / PROJECTION_FILE
    if projection.is_file():
        saved[f"base_model.model.{MODULE}.weight"] = load_file(projection)["weight"]
    pairs = [
        (parameter, saved.get(_name_in_adapter(name, model.active_adapter)))
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    ]
    if any(value is None for _, value in pairs):
        return False
    for parameter, value in pairs:
        assert value is not None
        value = value.to(parameter.device, parameter.dtype)
        if isinstance(parameter, DTensor):
            value = distribute_tensor(value, parameter.device_mesh, parameter.placements)
        parameter.copy_(value)
    return True


def _name_in_adapter(name: str, adapter: str) -> str:
    """The name in an adapter's file of one of the model's parameters."""
    name = name.replace(CHECKPOINT_WRAPPER, "")
    return name.replace(f"modules_to_save.{adapter}.", "").replace(f".{adapter}", "")


def without_tied_copies(model: Any, state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """
    A gathered state dict without weights that are tied to others in it, of which gathering makes copies.

    Args:
        model (`PreTrainedModel`)
        state_dict (`dict[str, Tensor]`)
    """
    tied: dict[str, str] = getattr(model, "all_tied_weights_keys", None) or {}
    return {name: value for name, value in state_dict.items() if tied.get(name) not in state_dict}


@contextmanager
def without_step(accelerator: Any, model: Any) -> Iterator[None]:
    """Inside the block a backward adds gradients: processes don't exchange them, and DeepSpeed makes no step."""
    if accelerator.distributed_type != DistributedType.DEEPSPEED:
        with accelerator.no_sync(model):
            yield
        return
    state = accelerator.gradient_state
    before = state.sync_gradients
    state._set_sync_gradients(False)
    try:
        yield
    finally:
        state._set_sync_gradients(before)
