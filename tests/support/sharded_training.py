"""FSDP2 and DeepSpeed on CPUs, which accelerate would leave out: processes that shard weights over gloo."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

import torch
from accelerate.state import PartialState
from accelerate.utils import DistributedType

from support.sample_corpus import build_tokenizer
from support.training_setup import trainer_for

NUMBERS = [0, 1, 2, 4, 5, 7, 3, 6]
FSDP: dict[str, Any] = {
    "fsdp": True,
    "fsdp_config": {"version": 2, "auto_wrap_policy": "TRANSFORMER_BASED_WRAP", "state_dict_type": "FULL_STATE_DICT"},
}


def with_fsdp(**config: Any) -> dict[str, Any]:
    """The arguments of a training with FSDP2 and further settings of it."""
    return {**FSDP, "fsdp_config": {**FSDP["fsdp_config"], **config}}


def allow_sharding_on_cpus() -> None:
    """Let accelerate take the processes for such with GPUs: it does not look at FSDP on CPUs."""
    initialize = PartialState.__init__

    def initialize_as_with_gpus(state: Any, *args: Any, **kwargs: Any) -> None:
        initialize(state, *args, **kwargs)
        if state._shared_state.get("distributed_type") == DistributedType.MULTI_CPU:
            state._shared_state["distributed_type"] = DistributedType.MULTI_GPU

    PartialState.__init__ = initialize_as_with_gpus


def make(directory: Path, settings: dict[str, Any], size: int = 2) -> Any:
    """A trainer; `adapter` in the settings stands for LoRA."""
    settings = copy.deepcopy(settings)
    numbers = settings.pop("numbers", NUMBERS[:4])
    if settings.pop("adapter", False):
        from peft import LoraConfig

        settings["peft_config"] = LoraConfig(r=2, target_modules=["q_proj", "v_proj"])
    implementation = settings.pop("attention", None)
    torch.manual_seed(0)
    trainer = trainer_for(build_tokenizer(), directory, numbers, per_device_train_batch_size=size, **settings)
    if implementation is not None:
        trainer.model.set_attn_implementation(implementation)
    return trainer


def whole(value: torch.Tensor) -> torch.Tensor:
    """A tensor that may be sharded, in one piece."""
    full = value.full_tensor() if hasattr(value, "full_tensor") else value
    return full.detach().clone().float()


def trained_weights(trainer: Any) -> dict[str, torch.Tensor]:
    """All parameters after a training, gathered."""
    return {
        name.replace("_checkpoint_wrapped_module.", "").removeprefix("module."): whole(parameter)
        for name, parameter in trainer.model_wrapped.named_parameters()
    }


def kill_at_step(trainer: Any, step: int) -> None:
    """Let this process end at once when it begins a step."""
    training_step = trainer.training_step

    def step_or_die(*args: Any, **kwargs: Any) -> Any:
        if trainer.state.global_step == step:
            os._exit(0)  # with another code, the one who waits for the processes would end the others
        return training_step(*args, **kwargs)

    trainer.training_step = step_or_die


def count_steps(trainer: Any) -> list[int]:
    """Grows by one with each step."""
    steps: list[int] = []
    training_step = trainer.training_step

    def step_and_count(*args: Any, **kwargs: Any) -> Any:
        steps.append(trainer.state.global_step)
        return training_step(*args, **kwargs)

    trainer.training_step = step_and_count
    return steps
