"""Trainings of two processes that push to the Hub: `python -m support.pushing_processes DIRECTORY TOKEN [STAGE]`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from support.sharded_training import allow_deepspeed_on_cpus, allow_sharding_on_cpus, make, with_fsdp, zero
from support.two_processes import run_together

FULL, SHARDED = with_fsdp(), with_fsdp(state_dict_type="SHARDED_STATE_DICT")
SHARDING: dict[str, dict[str, Any]] = {
    "ddp": {},
    "ddp-adapter": {"adapter": True},
    "fsdp": FULL,
    "fsdp-adapter": {**FULL, "adapter": True},
    "fsdp-sharded": SHARDED,
    "fsdp-sharded-adapter": {**SHARDED, "adapter": True},
}
DEEPSPEED: dict[str, dict[str, Any]] = {
    "zero2": zero(2), "zero2-adapter": {**zero(2), "adapter": True}, "zero3": zero(3),
}  # fmt: skip
"""PEFT's rows of tokens ask for CUDA under ZeRO-3."""


def push(rank: int, directory: str, token: str, deepspeed: bool) -> dict[str, Any]:
    """Two steps each, of which the first is pushed while the training runs."""
    if deepspeed:
        allow_deepspeed_on_cpus(rank)
    for name, settings in (DEEPSPEED if deepspeed else SHARDING).items():
        if "fsdp" in settings:  # the last ones: from here on accelerate takes the processes for such with GPUs
            allow_sharding_on_cpus()
        trainer = make(
            Path(directory) / name,
            {
                "max_steps": 2, "save_strategy": "steps", "save_steps": 1, "hub_model_id": f"org/{name}",
                "hub_token": token, "push_to_hub": True, "hub_always_push": True, **settings,
            },
        )  # fmt: skip
        trainer.train()
        trainer.push_to_hub()
    return {}


if __name__ == "__main__":
    from support import pushing_processes  # by its name, under which the processes import it

    run_together(pushing_processes.push, Path(sys.argv[1]) / "store", *sys.argv[1:3], len(sys.argv) > 3, timeout=600.0)
