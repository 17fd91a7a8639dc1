"""Where a model takes its input, also where weights are kept elsewhere until they are needed."""

from __future__ import annotations

from typing import Any

import torch


def input_device(model: Any) -> torch.device:
    """
    The device of a model's input.

    Args:
        model (`PreTrainedModel`): Embeddings that accelerate keeps on a disk or on the CPU are brought to a device of
            their own for each forward.
    """
    embeddings = model.get_input_embeddings()
    execution_device = getattr(getattr(embeddings, "_hf_hook", None), "execution_device", None)
    return embeddings.weight.device if execution_device is None else torch.device(execution_device)


def has_fast_bfloat16() -> bool:
    """Whether models run on a processor with instructions for products of bfloat16, since there is no accelerator."""
    if torch.accelerator.is_available():
        return False
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # torch 2.10 and later
    return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16"))
