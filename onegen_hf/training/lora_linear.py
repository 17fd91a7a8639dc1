"""LoRA layers that add their product in place, in the dtype of the activations: the same function, fewer passes."""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners.lora import Linear
from torch import Tensor, nn


class LoraProduct(torch.autograd.Function):
    """
    `y = x Wᵀ + b + (x Aᵀ) Bᵀ` with a frozen `W`, for LoRA (Hu et al., arXiv 2106.09685, section 4.1).

    Plain autograd makes three more tensors of the size of `y`: the product, the scaled product and the sum. Here each
    product is added in place, in both directions.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, down: Tensor, up: Tensor) -> Tensor:
        """
        Args:
            x (`Tensor` of shape `(..., in_features)`)
            weight (`Tensor` of shape `(out_features, in_features)`), bias (`Tensor` of shape `(out_features,)`,
                *optional*): Frozen.
            down (`Tensor` of shape `(r, in_features)`): A.
            up (`Tensor` of shape `(out_features, r)`): B, scaled.

        Returns:
            `Tensor` of shape `(..., out_features)`.
        """
        rows = x.reshape(-1, x.shape[-1])
        low = rows @ down.T
        y = nn.functional.linear(rows, weight, bias).addmm_(low, up.T)
        ctx.save_for_backward(rows, weight, down, up, low)
        return y.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, None, None, Tensor, Tensor]:  # type: ignore[override]
        rows, weight, down, up, low = ctx.saved_tensors
        rows_gradient = gradient.reshape(-1, gradient.shape[-1])
        low_gradient = rows_gradient @ up
        x_gradient = None
        if ctx.needs_input_grad[0]:
            x_gradient = (rows_gradient @ weight).addmm_(low_gradient, down)
            x_gradient = x_gradient.view(*gradient.shape[:-1], -1)
        return x_gradient, None, None, low_gradient.T @ rows, rows_gradient.T @ low


class LoraLinear(Linear):
    """PEFT's LoRA layer, with [`LoraProduct`] where nothing but the plain product is asked for."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        names = self.active_adapters
        if self.disable_adapters or self.merged or args or kwargs or len(names) != 1 or names[0] not in self.lora_A:
            return super().forward(x, *args, **kwargs)
        device = x.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
        base = self.get_base_layer()
        down, up = self.lora_A[names[0]].weight, self.lora_B[names[0]].weight * self.scaling[names[0]]
        bias = None if base.bias is None else base.bias.to(dtype)
        with torch.autocast(device, enabled=False):
            return LoraProduct.apply(x.to(dtype), base.weight.to(dtype), bias, down.to(dtype), up.to(dtype))


def use_fast_lora_layers(model: nn.Module) -> int:
    """
    Turn PEFT's LoRA layers into [`LoraLinear`] ones, where that computes the same: over plain `nn.Linear` layers, with
    one adapter that has no dropout, no bias and no variant (DoRA and others).

    Args:
        model (`nn.Module`): Its weights stay where they are, under the same names.

    Returns:
        `int`: How many layers were turned.
    """
    turned = 0
    for layer in model.modules():
        if type(layer) is Linear and _is_plain(layer):
            layer.__class__ = LoraLinear
            turned += 1
    return turned


def _is_plain(layer: Any) -> bool:
    base = layer.get_base_layer()
    if type(base) is not nn.Linear or base.weight.requires_grad or layer.fan_in_fan_out or layer.lora_variant:
        return False
    dropouts = [dropout for dropout in layer.lora_dropout.values() if not isinstance(dropout, nn.Identity)]
    has_bias = any(part.bias is not None for part in layer.lora_B.values())
    return not dropouts and not has_bias and (base.bias is None or not base.bias.requires_grad)
