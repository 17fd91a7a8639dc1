"""Which arguments of a training belong to which contrastive loss, read off the losses themselves."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from .contrastive import ContrastiveLoss


def loss_options(name: str, loss: type[ContrastiveLoss], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """
    The arguments of a loss among those of a training: `contrastive_scale` for its `scale`, and for an option of its
    own the two names joined, such as `bpr_negatives` for the `negatives` of `"bpr"`.

    Args:
        name (`str`): In configurations, such as `"bpr"`.
        loss (`type`): Its class.
        arguments (`Mapping[str, Any]`): Fields of [`OneGenTrainingArguments`]; what is `None` is left to the loss.

    Returns:
        `dict[str, Any]`: For the constructor.
    """
    fields = {option: f"{name}_{option}" for option in inspect.signature(loss).parameters}
    fields["scale"] = "contrastive_scale"
    return {option: arguments[field] for option, field in fields.items() if arguments.get(field) is not None}
