"""FSDP2 and DeepSpeed on CPUs, which accelerate would leave out: processes that shard weights over gloo."""

from __future__ import annotations

import copy
import os
import sys
from pathlib import Path
from typing import Any

import torch
from accelerate.state import PartialState
from accelerate.utils import DistributedType
from transformers.integrations.deepspeed import unset_hf_deepspeed_config

from onegen_hf.modeling import fused_loss
from support.sample_corpus import build_tokenizer
from support.stand_in_kernels import plain_cross_entropy
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


def zero(stage: int, **optimization: Any) -> dict[str, Any]:
    """The arguments of a training with DeepSpeed, with further settings of `zero_optimization`."""
    config = {
        "zero_optimization": {"stage": stage, "stage3_gather_16bit_weights_on_model_save": True, **optimization},
        "zero_force_ds_cpu_optimizer": False,  # which would be compiled
        "zero_allow_untested_optimizer": True,
        **dict.fromkeys(
            ("train_micro_batch_size_per_gpu", "train_batch_size", "gradient_accumulation_steps", "gradient_clipping"),
            "auto",
        ),
    }
    return {"deepspeed": config, "use_cpu": False}


def allow_deepspeed_on_cpus(rank: int) -> None:
    """
    Let accelerate take up DeepSpeed on CPUs, and DeepSpeed go without the operation of shared memory, for which it
    would run a compiler in each process.
    """
    os.environ |= {"DS_ACCELERATOR": "cpu", "LOCAL_SIZE": "2", "CROSS_RANK": "0", "CROSS_SIZE": "1"}
    os.environ |= {"MASTER_PORT": "29533"}
    os.environ.pop("ACCELERATE_USE_CPU", None)
    import deepspeed.comm  # noqa: F401

    sys.modules["deepspeed.comm.torch"].build_shm_op = lambda: None  # type: ignore[attr-defined]
    initialize = PartialState.__init__

    def initialize_with_all_processes(state: Any, *args: Any, **kwargs: Any) -> None:
        initialize(state, *args, **kwargs)
        if torch.distributed.is_initialized() and state._shared_state.get("num_processes") == 1:
            state._shared_state.update(
                backend="gloo", num_processes=torch.distributed.get_world_size(), process_index=rank,
                local_process_index=rank, distributed_type=DistributedType.DEEPSPEED,
            )  # fmt: skip

    PartialState.__init__ = initialize_with_all_processes


def make(directory: Path, settings: dict[str, Any], size: int = 2) -> Any:
    """A trainer; `adapter` in the settings stands for LoRA, `fused` for the language-model loss without logits."""
    unset_hf_deepspeed_config()  # that of an earlier training in this process
    settings = copy.deepcopy(settings)
    numbers = settings.pop("numbers", NUMBERS[:4])
    if settings.pop("adapter", False):
        from peft import LoraConfig

        settings["peft_config"] = LoraConfig(r=2, target_modules=["q_proj", "v_proj"])
    implementation, fused = settings.pop("attention", None), settings.pop("fused", False)
    torch.manual_seed(0)
    trainer = trainer_for(build_tokenizer(), directory, numbers, per_device_train_batch_size=size, **settings)
    if implementation is not None:
        trainer.model.set_attn_implementation(implementation)
    if fused:
        fused_loss.liger_kernel = plain_cross_entropy  # in this process, which ends with its trainings
        base = getattr(trainer.model, "get_base_model", lambda: trainer.model)()
        base.fused_cross_entropy = fused_loss.has_plain_head(base)
        assert base.fused_cross_entropy
    return trainer


def whole(value: torch.Tensor) -> torch.Tensor:
    """A tensor that may be sharded, in one piece."""
    if hasattr(value, "ds_id"):
        import deepspeed

        with deepspeed.zero.GatheredParameters([value]):
            return value.detach().clone().float()
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
