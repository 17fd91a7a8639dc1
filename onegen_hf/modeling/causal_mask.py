"""Which keys each token of a row sees."""

from __future__ import annotations

import torch
from torch import Tensor


def causal_mask(positions: Tensor, visible: int, window: int | None, additive: torch.dtype | None) -> Tensor:
    """
    The mask of tokens at given positions of their rows, each of which sees itself and those before it.

    Args:
        positions (`Tensor` of shape `(rows, size)`)
        visible (`int`): Number of keys.
        window (`int`, *optional*): Keys that a token sees, itself included; by default all before it.
        additive (`torch.dtype`, *optional*): For a mask to add to the scores; a bool one by default.

    Returns:
        `Tensor` of shape `(rows, 1, size, visible)`.
    """
    columns = torch.arange(visible, device=positions.device)
    # (rows, size, visible)
    allowed = columns <= positions.unsqueeze(2)
    if window is not None:
        allowed &= columns > positions.unsqueeze(2) - window
    allowed = allowed.unsqueeze(1)
    if additive is None:
        return allowed
    zeros = torch.zeros(allowed.shape, dtype=additive, device=positions.device)
    return zeros.masked_fill(~allowed, torch.finfo(additive).min)
