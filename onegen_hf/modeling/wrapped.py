"""`refuse_wrapped`: a model inside of another module is not used through it."""

from __future__ import annotations

from typing import Any

from peft import PeftModel
from torch import nn

from .mixin import OneGenMixin


def refuse_wrapped(model: Any) -> None:
    """
    Say how to unwrap a model that PEFT, `torch.compile` or a library for several processes has wrapped.

    Args:
        model: Anything; what is no wrapper is left to other checks.

    Raises:
        `TypeError`: Names the wrapper and the way out of it.
    """
    if isinstance(model, OneGenMixin) or not isinstance(model, nn.Module):
        return
    if isinstance(model, PeftModel):
        raise TypeError(
            f"model is a {type(model).__name__} around a {type(model.get_base_model()).__name__}: pass "
            "`model.merge_and_unload()`, or load a saved adapter with `OneGenForCausalLM.from_pretrained`"
        )
    for name in ("_orig_mod", "module"):  # of torch.compile; of DistributedDataParallel and FSDP
        inner = model._modules.get(name)
        if isinstance(inner, OneGenMixin):
            raise TypeError(
                f"model is a {type(model).__name__} around a {type(inner).__name__}: pass "
                f"`accelerate.utils.extract_model_from_parallel(model, keep_torch_compile=False)`, or `model.{name}`"
            )
