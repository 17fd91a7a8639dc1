"""The language-model loss without its logits, by Liger's fused linear cross-entropy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.nn.functional import linear
from torch.overrides import TorchFunctionMode

from ..losses.causal_lm import averaged, causal_lm_loss
from .tiny_twin import tiny_twin
from .variable_length import computed_dtype

Kernel = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]
"""Takes weight, states, targets and bias; returns the cross-entropy, summed over the targets."""
_FACTORS = {"logit_scale": 1, "lm_head_multiplier": 1, "logits_scaling": -1}
"""Settings by which a backbone multiplies its logits, with their exponent."""
_TOLERANCE = 1e-4
"""Of logits in float32, relative to their size."""
_known: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()


def liger_kernel(softcap: float | None) -> Kernel:
    """
    Liger's fused linear cross-entropy. It sums the gradient of the head's weight in float32.

    Args:
        softcap (`float`, *optional*): Of the logits, as Gemma 2 has one.
    """
    from liger_kernel.transformers import LigerFusedLinearCrossEntropyLoss

    return LigerFusedLinearCrossEntropyLoss(reduction="sum", softcap=softcap, accum_dtype=torch.float32)


class HeadProduct(TorchFunctionMode):
    """
    Inside the block the first matrix product of a head is a loss instead.

    The head is called as a module, so that hooks that gather, cast or move its weight do their work, and so that
    PEFT's wrappers hand over the weight they have made.

    Args:
        kernel ([`Kernel`])
        targets (`Tensor` of shape `(n_labelled,)`, int64)
    """

    def __init__(self, kernel: Kernel, targets: Tensor) -> None:
        super().__init__()
        self.kernel, self.targets = kernel, targets
        self.loss: Tensor | None = None

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is not linear or self.loss is not None:
            return func(*args, **dict(kwargs or {}))
        self.loss = self._loss_of(*args, **dict(kwargs or {}))
        return self.loss

    def _loss_of(self, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        dtype = computed_dtype(input.dtype, input.device)
        bias = None if bias is None else bias.to(dtype)
        return self.kernel(weight.to(dtype), input.to(dtype), self.targets.to(input.device), bias)


def fused_causal_lm_loss(model: Any, states: Tensor, targets: Tensor, num_items: int | Tensor | None) -> Tensor:
    """
    As [`causal_lm_loss`] of the logits at these states, which are not made.

    Args:
        model ([`OneGenForCausalLM`]): See [`has_plain_head`].
        states (`Tensor` of shape `(n_labelled, hidden)`): Last hidden states at the predicting positions.
        targets (`Tensor` of shape `(n_labelled,)`, int64)
        num_items (`int` or 0-d `Tensor`, *optional*): Labelled tokens of the whole batch; by default those given.

    Returns:
        0-d float32 `Tensor`.
    """
    factor, softcap = _transformation(model)
    states = states if factor == 1.0 else states * factor
    head = model.get_output_embeddings()
    if not targets.numel():
        # Processes that share a sharded head call it equally often.
        return causal_lm_loss(head(states), targets, num_items)
    with HeadProduct(liger_kernel(softcap), targets) as product:
        output = head(states)
    if product.loss is None:  # ZeRO-3 has a product of its own
        return causal_lm_loss(_capped(output, softcap), targets.to(output.device), num_items)
    # Not `product.loss`: sharding gathers the weight again for the gradient of what the module returned.
    return averaged(output.float(), targets, num_items)


def has_plain_head(model: Any) -> bool:
    """
    Whether a model's logits are one matrix product of its last hidden states, scaled or capped at most.

    Args:
        model ([`OneGenForCausalLM`]): Not sharded yet. An adapter on the head or a quantised head is no plain product.
    """
    twin = tiny_twin(model)
    if twin is None or (getattr(model, "tp_size", None) or 1) > 1:
        return False
    if twin not in _known:
        _known[twin] = _gives_the_logits(twin)
    return _known[twin] and _is_one_product(model)


@torch.no_grad()
def _gives_the_logits(twin: Any) -> bool:
    tokens = torch.tensor([[3, 9, 4, 17, 5]])
    output = twin(tokens, use_cache=False, retrieval_positions=torch.ones_like(tokens, dtype=torch.bool))
    factor, softcap = _transformation(twin)
    logits = _capped(twin.get_output_embeddings()(output.retrieval_embeddings * factor), softcap)
    expected = output.logits[0]
    return bool((logits - expected).norm() <= _TOLERANCE * expected.norm())


@torch.no_grad()
def _is_one_product(model: Any) -> bool:
    head = model.get_output_embeddings()
    device = next(head.parameters()).device
    state = torch.zeros(1, model.config.get_text_config().hidden_size, dtype=model.dtype, device=device)
    try:
        with HeadProduct(lambda weight, *_: weight.new_zeros(()), torch.zeros(1, dtype=torch.int64)) as product:
            return head(state) is product.loss
    except Exception:  # what wraps a head may do anything with its product
        return False


def _transformation(model: Any) -> tuple[float, float | None]:
    """The factor on a backbone's logits, and the value they are capped at."""
    config, factor = model.config.get_text_config(), 1.0
    for name, exponent in _FACTORS.items():
        factor *= float(getattr(config, name, None) or 1.0) ** exponent
    return factor, getattr(config, "final_logit_softcapping", None)


def _capped(logits: Tensor, softcap: float | None) -> Tensor:
    return logits if softcap is None else softcap * torch.tanh(logits / softcap)
