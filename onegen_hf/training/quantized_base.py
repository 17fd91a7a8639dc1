"""`keep_quantized_weights`: a base in 4 bits that evaluations leave as it is."""

from __future__ import annotations

from typing import Any

REPACKS = "support_avx512bf16_for_cpu"
"""Attribute of bitsandbytes' 4-bit layers: whether a forward without gradients may repack their weights."""


def keep_quantized_weights(model: Any) -> None:
    """
    Keep bitsandbytes from repacking the weights of a base that an adapter is trained on.

    Where a processor has AVX-512 with bfloat16, the first forward without gradients, such as that of an evaluation,
    rounds the scales of a 4-bit layer to bfloat16 in place. The training would go on with another base, and a run that
    is resumed would not end where the whole one does.

    Args:
        model (`nn.Module`): Any; layers of other kinds stay as they are.
    """
    for module in model.modules():
        if hasattr(module, REPACKS):
            setattr(module, REPACKS, False)
