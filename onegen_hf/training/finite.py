"""A training whose loss or weights are no numbers any more stops, before it saves them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .resuming import last_whole_checkpoint
from .sharding import CHECKPOINT_WRAPPER

ADVICE = "lower learning_rate, set max_grad_norm, or train in bfloat16 instead of float16"


def check_finite_loss(loss: Tensor, trainer: Any) -> None:
    """
    Raises:
        `ValueError`: If the loss of a micro-batch is NaN or infinite; names the step and the last whole checkpoint.
    """
    if not bool(torch.isfinite(loss).all()):
        raise ValueError(
            f"the loss is {float(loss.float().sum())} at step {trainer.state.global_step + 1}: the training stops. "
            f"{_last_checkpoint(trainer)}; {ADVICE}"
        )


def trained_weights(model: nn.Module, state_dict: Mapping[str, Tensor] | None) -> dict[str, Tensor]:
    """
    The weights that a training changes.

    Args:
        model (`nn.Module`)
        state_dict (`Mapping[str, Tensor]`, *optional*): Gathered weights, where the model's are sharded. Frozen ones
            are left out: those of 4 bits, stored as floats, need not be numbers.
    """
    if state_dict is None:
        return {name: value for name, value in model.named_parameters() if value.requires_grad}
    # A state dict has both names of a tied weight.
    parameters = model.named_parameters(remove_duplicate=False)
    frozen = {name.replace(CHECKPOINT_WRAPPER, "") for name, value in parameters if not value.requires_grad}
    return {name: value for name, value in state_dict.items() if name not in frozen}


def check_finite_weights(weights: Mapping[str, Tensor], trainer: Any) -> None:
    """
    Args:
        weights (`Mapping[str, Tensor]`): Those that are trained.
        trainer ([`OneGenTrainer`])

    Raises:
        `ValueError`: If one of them holds NaN or infinity, so that a checkpoint would hold them too.
    """
    floating = {name: value for name, value in weights.items() if value.is_floating_point()}
    finite = [torch.isfinite(value.detach()).all() for value in floating.values()]
    if all(map(bool, finite)):
        return
    first = next(name for name, whole in zip(floating, finite, strict=True) if not bool(whole))
    raise ValueError(
        f"{first} holds NaN or infinity after step {trainer.state.global_step}: it is not saved. "
        f"{_last_checkpoint(trainer)}; {ADVICE}"
    )


def _last_checkpoint(trainer: Any) -> str:
    checkpoint = last_whole_checkpoint(trainer.args.output_dir, joined=False)
    return f"The last whole checkpoint is {checkpoint}" if checkpoint else "There is no whole checkpoint yet"
