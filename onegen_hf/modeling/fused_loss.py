"""The language-model loss without its logits, by Liger's fused linear cross-entropy."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, linear
from torch.overrides import TorchFunctionMode

from .tiny_twin import tiny_twin
from .variable_length import computed_dtype

logger = logging.getLogger(__name__)

Kernel = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]
"""Takes weight, states, targets and bias; returns the cross-entropy, summed over the targets."""
_FACTORS = {"logit_scale": 1, "lm_head_multiplier": 1, "logits_scaling": -1}
"""Settings by which a backbone multiplies its logits, with their exponent."""
_TOLERANCE = 1e-4
"""Relative, of a loss in float32."""
_told: WeakSet[Any] = WeakSet()
_known: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()


def liger_kernel(softcap: float | None) -> Kernel:
    """
    Liger's fused linear cross-entropy. It sums the gradient of the head's weight in float32.

    Args:
        softcap (`float`, *optional*): Of the logits, as Gemma 2 has one.
    """
    from liger_kernel.transformers import LigerFusedLinearCrossEntropyLoss

    return LigerFusedLinearCrossEntropyLoss(reduction="sum", softcap=softcap, accum_dtype=torch.float32)


def plain_kernel(softcap: float | None) -> Kernel:
    """What [`liger_kernel`] computes, with logits, on any device: to try out the heads of backbones."""

    def kernel(weight: Tensor, states: Tensor, targets: Tensor, bias: Tensor | None) -> Tensor:
        logits = linear(states, weight, bias).float()
        if softcap is not None:
            logits = softcap * torch.tanh(logits / softcap)
        return cross_entropy(logits, targets, reduction="sum")

    return kernel


class HeadProduct(TorchFunctionMode):
    """
    While a head runs, its matrix product is the loss instead of the logits.

    The head is called as it always is, so that hooks that gather, cast or move its weight do their work, and PEFT's
    wrappers hand over the weight they have made.

    Args:
        kernel ([`Kernel`])
        targets (`Tensor` of shape `(n_labelled,)`, int64): For the states that reach the head, in their order.
        factor (`float`): On the logits.

    Attributes:
        loss (0-d `Tensor`, *optional*): Summed over the targets; `None` if there was no product, or no target.
    """

    def __init__(self, kernel: Kernel, targets: Tensor, factor: float) -> None:
        super().__init__()
        self.kernel, self.targets, self.factor = kernel, targets, factor
        self.loss: Tensor | None = None

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is not linear or self.loss is not None or not self.targets.numel():
            return func(*args, **dict(kwargs or {}))
        self.loss = self._loss_of(*args, **dict(kwargs or {})).view(1, 1)  # two axes, like logits
        return self.loss

    def _loss_of(self, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        dtype = computed_dtype(input.dtype, input.device)
        states = input if self.factor == 1.0 else input * self.factor
        bias = None if bias is None else bias.to(dtype) * self.factor
        return self.kernel(weight.to(dtype), states.to(dtype), self.targets.to(input.device), bias)

    @contextmanager
    def of(self, head: torch.nn.Module) -> Iterator[None]:
        """Inside the block the head computes the loss."""

        def begin(*_: Any) -> None:
            self.__enter__()

        def end(module: Any, args: Any, output: Any) -> None:
            self.__exit__(None, None, None)
            if self.loss is not None and output is not None:
                # What the head returned: sharding gathers its weight again for the gradient of that.
                self.loss = output

        handles = [
            head.register_forward_pre_hook(begin),
            head.register_forward_hook(end, always_call=True),
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
        if self.loss is not None:
            self.loss = self.loss.float().squeeze()


@contextmanager
def loss_in_the_head(
    model: Any, targets: Tensor, kernel: Callable[..., Kernel] | None = None
) -> Iterator[HeadProduct]:
    """
    Inside the block a forward of the backbone computes the loss of its `logits_to_keep`; what it takes for logits is
    not defined. Afterwards the yielded product holds the loss.

    Args:
        model ([`OneGenForCausalLM`]): See [`has_plain_head`].
        targets (`Tensor` of shape `(n_labelled,)`, int64)
        kernel (`Callable`, *optional*): [`liger_kernel`] by default.
    """
    factor, softcap = _transformation(model)
    product = HeadProduct((kernel or liger_kernel)(softcap), targets, factor)
    with product.of(model.get_output_embeddings()):
        yield product
    if product.loss is None and targets.numel() and model not in _told:
        _told.add(model)
        logger.warning(
            "the loss of %s is computed from its logits: the matrix product of its head is replaced elsewhere, as "
            "by ZeRO-3",
            type(model).__name__,
        )


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
        _known[twin] = _gives_the_loss(twin)
    return _known[twin] and _is_one_product(model)


@torch.no_grad()
def _gives_the_loss(twin: Any) -> bool:
    tokens, targets = torch.tensor([[3, 9, 4, 17, 5]]), torch.tensor([9, 4, 17])
    inputs = {"use_cache": False, "retrieval_positions": [[0]], "logits_to_keep": torch.tensor([[1, 1, 1, 0, 0]]) > 0}
    expected = cross_entropy(twin(tokens, **inputs).logits.float(), targets, reduction="sum")
    try:
        with loss_in_the_head(twin, targets, plain_kernel) as product:
            twin(tokens, **inputs)
    except Exception:  # a backbone may do anything with its logits
        return False
    return product.loss is not None and bool((product.loss - expected).abs() <= _TOLERANCE * expected)


@torch.no_grad()
def _is_one_product(model: Any) -> bool:
    head, one = model.get_output_embeddings(), torch.zeros(1, dtype=torch.int64)
    device = next(head.parameters()).device
    state = torch.zeros(1, model.config.get_text_config().hidden_size, dtype=model.dtype, device=device)
    try:
        with HeadProduct(lambda weight, *_: weight.new_zeros(()), one, 1.0) as product:
            return head(state) is product.loss
    except Exception:  # what wraps a head may do anything with its product
        return False


def _transformation(model: Any) -> tuple[float, float | None]:
    """The factor on a backbone's logits, and the value they are capped at."""
    config, factor = model.config.get_text_config(), 1.0
    for name, exponent in _FACTORS.items():
        factor *= float(getattr(config, name, None) or 1.0) ** exponent
    return factor, getattr(config, "final_logit_softcapping", None)
