"""Next-token cross-entropy over labelled tokens only."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, pad

from ..data.targets import IGNORE_INDEX


def predicting_positions(labels: Tensor) -> Tensor:
    """
    Where the language-model head is wanted: positions whose *next* token has a label.

    Args:
        labels (`Tensor` of shape `(batch, sequence)`): Token ids, [`IGNORE_INDEX`] elsewhere; not shifted.

    Returns:
        `Tensor` of shape `(batch, sequence)`, bool.
    """
    return pad(labels[:, 1:] != IGNORE_INDEX, (0, 1), value=False)


def shifted_targets(labels: Tensor) -> Tensor:
    """The labels that [`predicting_positions`] predict, row by row: `Tensor` of shape `(n_labelled,)`, int64."""
    shifted = labels[:, 1:]
    return shifted[shifted != IGNORE_INDEX]


def causal_lm_loss(logits: Tensor, targets: Tensor, num_items: int | Tensor | None = None) -> Tensor:
    """
    Cross-entropy in float32, summed over the labelled tokens and divided by `num_items`.

    Args:
        logits (`Tensor` of shape `(n_labelled, vocab)`): At the positions of [`predicting_positions`].
        targets (`Tensor` of shape `(n_labelled,)`): From [`shifted_targets`].
        num_items (`int` or 0-d `Tensor`, *optional*): Labelled tokens of the whole batch (over micro-batches and
            processes); by default those given.

    Returns:
        0-d float32 `Tensor`; 0 (with a gradient of 0) when there is no labelled token.
    """
    if targets.numel() == 0:
        return 0.0 * logits.float().sum()
    return averaged(cross_entropy(logits.float(), targets, reduction="sum"), targets, num_items)


def averaged(total: Tensor, targets: Tensor, num_items: int | Tensor | None = None) -> Tensor:
    """A loss summed over `targets`, divided by `num_items` as in [`causal_lm_loss`]."""
    return total / (targets.numel() if num_items is None else torch.as_tensor(num_items).clamp(min=1).to(total.device))
