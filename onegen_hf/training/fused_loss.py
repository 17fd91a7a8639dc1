"""Whether a training computes its language-model loss without logits."""

from __future__ import annotations

import logging
import os
from typing import Any

from ..importing.extras import require
from ..modeling.fused_loss import has_plain_head
from .arguments import OneGenTrainingArguments

logger = logging.getLogger(__name__)


def use_fused_loss(model: Any, args: OneGenTrainingArguments) -> None:
    """
    Let a model compute its loss as the arguments say, where its head allows it.

    Args:
        model ([`OneGenForCausalLM`]): With its adapter, if any, and not sharded yet.
        args ([`OneGenTrainingArguments`])

    Raises:
        `ImportError`: If Liger's kernels are not installed.
        `ValueError`: On a device that can't run them.
    """
    model.fused_cross_entropy = False
    if not args.fused_cross_entropy:
        return
    require("liger_kernel", "liger", "fused_cross_entropy=True")
    if args.device.type == "cpu" and os.environ.get("TRITON_INTERPRET") != "1":
        raise ValueError(
            "fused_cross_entropy=True runs kernels of Triton, which need a GPU: leave it and use_liger_kernel out"
        )
    model.fused_cross_entropy = has_plain_head(model)
    if not model.fused_cross_entropy:
        logger.warning(
            "fused_cross_entropy=True has no effect: the logits of %s are more than one matrix product of its last "
            "hidden states, as with an adapter on the head. Its loss is computed from the logits",
            type(model).__name__,
        )
