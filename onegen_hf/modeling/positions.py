"""Reading hidden states at retrieval positions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor


def gather_hidden(hidden: Tensor, positions: Tensor) -> Tensor:
    """
    Hidden states at given positions.

    Args:
        hidden (`Tensor` of shape `(batch, sequence, hidden)`)
        positions (`Tensor`): int64 of shape `(batch, n)` or `(batch,)`, negative as padding; or a bool mask
            of shape `(batch, sequence)`.

    Returns:
        `Tensor` of shape `(batch, n, hidden)`, `(batch, hidden)` or, for a mask, `(n_true, hidden)`.

    Raises:
        `TypeError`: If the positions are no integers.
        `ValueError`: If the shape does not fit or a position lies outside the sequence.
    """
    check_positions(positions, *hidden.shape[:2])
    # Only now: positions on the host are checked there while the accelerator works, and the last layers of a split
    # model may be on another device than its input.
    positions = positions.to(hidden.device)
    if positions.dtype == torch.bool:
        return hidden[positions]
    if positions.ndim == 1:
        return gather_hidden(hidden, positions.unsqueeze(1)).squeeze(1)
    present = positions >= 0
    picked = torch.take_along_dim(hidden, positions.clamp(min=0).unsqueeze(-1).long(), dim=1)
    return picked * present.unsqueeze(-1).to(picked.dtype)


def check_positions(positions: Tensor, rows: int, length: int) -> None:
    """
    Args:
        positions (`Tensor`): As for [`gather_hidden`].
        rows (`int`), length (`int`): Of the batch that they point into.

    Raises:
        `TypeError`: If the positions are no integers.
        `ValueError`: If the shape does not fit or a position lies outside the sequence.
    """
    if positions.is_floating_point() or positions.is_complex():
        raise TypeError(f"retrieval_positions has dtype {positions.dtype}: give int64 positions, or a bool mask")
    if positions.dtype == torch.bool:
        if positions.shape != (rows, length):
            raise ValueError(
                f"retrieval_positions: a mask must have the shape of input_ids {(rows, length)}, "
                f"got {tuple(positions.shape)}"
            )
        return
    if positions.ndim not in (1, 2) or positions.shape[0] != rows:
        raise ValueError(
            f"retrieval_positions has shape {tuple(positions.shape)}, expected ({rows}, n): one row of positions for "
            "each row of input_ids, padded with -1"
        )
    if positions.numel() and int(positions.max()) >= length:
        raise ValueError(
            f"retrieval_positions: position {int(positions.max())} lies outside the sequence of {length} tokens. Was "
            "the row truncated after the positions were computed?"
        )


def context_length(model: Any) -> int | None:
    """
    Maximum number of positions of a model, or `None` if its config sets no limit.

    Rotary frequencies of the types `"dynamic"` and `"longrope"` change once a forward exceeds the original training
    length. Rows of a batch would then affect each other, and a cache would mix two types of keys, so such a model is
    limited to its original length.
    """
    config = model.config.get_text_config()
    limits = [getattr(config, "max_position_embeddings", None), *_original_lengths(config)]
    return min((int(limit) for limit in limits if isinstance(limit, int) and limit > 0), default=None)


def frequencies_change(config: Any) -> bool:
    """Whether rotary frequencies depend on how long a forward is, which the model then asks the device for."""
    return any(True for _ in _original_lengths(config))


def _original_lengths(config: Any) -> Iterator[Any]:
    rope = getattr(config, "rope_parameters", None) or {}
    # One set of parameters, or one per layer type.
    for parameters in (rope, *rope.values()):
        if isinstance(parameters, dict) and parameters.get("rope_type") in ("dynamic", "longrope"):
            yield parameters.get("original_max_position_embeddings")
            yield getattr(config, "original_max_position_embeddings", None)
