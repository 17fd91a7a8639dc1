"""`quantize_for_cpu`: int8 linear layers, with which a model decodes faster on a CPU."""

from __future__ import annotations

import functools
import threading
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D
from transformers.quantizers.base import HfQuantizer
from transformers.utils.quantization_config import QuantizationConfigMixin

ENGINE = "fbgemm"
"""Of the libraries that torch brings for integer products, the fastest from one row to a hundred."""
CALIBRATION_SHAPE = (4, 64)
"""Random texts, and tokens in each, that show which channels have large values."""
_TINY = torch.finfo(torch.float32).tiny

_engine_lock = threading.Lock()


class Int8Linear(nn.Module):
    """
    A linear layer on integers: weights of 8 bits with a scale per output, inputs of 8 bits with a scale per token.

    The scale of a token is its own largest magnitude. With one scale for all of them, as in torch's dynamic
    quantisation, a token's result depends on what else is in the batch, and the first token of a text, which has huge
    values in most language models, takes the others' precision away.

    Args:
        weight (`Tensor` of shape `(out_features, in_features)`)
        bias (`Tensor` of shape `(out_features,)`, *optional*)
        largest (`Tensor` of shape `(in_features,)`, *optional*): Magnitudes that each input channel reaches. Half of
            the difference between channels (on a logarithmic scale) then moves into the weights.

    Shapes: input `(..., in_features)`, float32; output `(..., out_features)`, float32.

    References:
        SmoothQuant, arXiv 2211.10438, section 4 (with α = 0.5).
    """

    smoothing: Tensor

    def __init__(self, weight: Tensor, bias: Tensor | None = None, largest: Tensor | None = None) -> None:
        super().__init__()
        self.out_features, self.in_features = weight.shape
        weight = weight.detach().float()
        smoothing = torch.ones(self.in_features)
        if largest is not None:
            smoothing = (weight.abs().amax(dim=0).clamp(min=1e-5) / largest.float().clamp(min=1e-5)).sqrt()
        self.register_buffer("smoothing", smoothing)
        self.register_buffer("bias", None if bias is None else bias.detach().float())
        self.packed = packed(weight / smoothing)
        self.steps = input_steps()

    def forward(self, states: Tensor) -> Tensor:
        states = states * self.smoothing
        scales = states.abs().amax(dim=-1, keepdim=True).clamp_(min=_TINY)
        products = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32(
            states.div_(scales), 1 / self.steps, self.steps + 1, self.packed
        ).mul_(scales)
        return products if self.bias is None else products.add_(self.bias)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class Int8Config(QuantizationConfigMixin):
    """Names the method in what transformers says about a quantised model."""

    def __init__(self) -> None:
        self.quant_method = "int8 of onegen_hf.quantize_for_cpu"


class Int8Quantizer(HfQuantizer):
    """Tells transformers what a quantised model can't do: be saved, or trained."""

    def is_serializable(self) -> bool:
        return False

    @property
    def is_trainable(self) -> bool:
        return False


def quantize_for_cpu(model: Any) -> Any:
    """
    Turn the linear layers of a model into [`Int8Linear`], in place; everything else becomes float32.

    SmolLM2-135M takes 1.8 times less processor time per token than in bfloat16. Indexes of the unquantised model stay
    valid: embeddings keep a cosine of 0.995 with those in float32. The result answers, searches and encodes passages;
    it can be neither trained nor saved, so keep the checkpoint.

    Args:
        model (`PreTrainedModel`): Such as a [`OneGenForCausalLM`], on the CPU, with adapters merged.

    Returns:
        The same model, in evaluation mode.

    Raises:
        `TypeError`: If `model` is no model of transformers, such as one with adapters that are not merged.
        `ValueError`: If it is not on the CPU or is quantised already, or this torch has no integer products.

    Example:

    ```python
    >>> rag = pipeline("onegen-rag", device="cpu")
    >>> quantize_for_cpu(rag.model)
    ```
    """
    if not isinstance(model, PreTrainedModel):
        raise TypeError(f"model is a {type(model).__name__}, not a model of transformers: merge adapters first")
    if model.device.type != "cpu":
        raise ValueError(f"model is on {model.device}: int8 layers run on the CPU only, load it with device='cpu'")
    if getattr(model, "hf_quantizer", None) is not None:
        raise ValueError("model is quantised already: load it without a quantization_config")
    if not has_integer_products():
        raise ValueError(
            f"torch {torch.__version__} has no {ENGINE!r} engine on this machine (builds for x86 processors have): "
            "use dtype='bfloat16' instead"
        )
    model.eval()
    layers = {
        name: module
        for name, module in model.named_modules()
        if type(module) is nn.Linear or isinstance(module, Conv1D)
    }
    largest = _largest_inputs(model, layers)
    for name, layer in layers.items():
        weight = layer.weight.T if isinstance(layer, Conv1D) else layer.weight
        parent, _, own = name.rpartition(".")
        setattr(model.get_submodule(parent), own, Int8Linear(weight, layer.bias, largest.get(name)))
    model.float()
    model.config.dtype = torch.float32
    model.hf_quantizer = Int8Quantizer(Int8Config(), pre_quantized=False)
    return model


def has_integer_products() -> bool:
    """Whether this torch can do it: on x86, and as long as it keeps quantised tensors, which it calls deprecated."""
    return (
        ENGINE in torch.backends.quantized.supported_engines
        and hasattr(torch, "quantize_per_channel")
        and hasattr(torch.ops.quantized, "linear_with_input_q_dq_qweight_dq_output_fp32")
    )


def packed(weight: Tensor) -> Any:
    """Weights of shape `(out_features, in_features)` as the integers that the library multiplies with."""
    scales = weight.abs().amax(dim=1).clamp_(min=_TINY) / 127
    zeros = torch.zeros(len(scales), dtype=torch.int64)
    with warnings.catch_warnings():
        # Nothing that a user could change; `has_integer_products` says so once they are gone.
        warnings.filterwarnings("ignore", message=".*quantized tensor creation functions", category=UserWarning)
        quantized = torch.quantize_per_channel(weight, scales.double(), zeros, 0, torch.qint8)
    with _engine_lock:
        before = torch.backends.quantized.engine
        torch.backends.quantized.engine = ENGINE
        try:
            return torch.ops.quantized.linear_prepack(quantized, None)
        finally:
            torch.backends.quantized.engine = before


@functools.cache
def input_steps() -> int:
    """
    Integers on either side of zero that inputs may take: 127, or 63 on processors without VNNI, which sum the products
    of two neighbours in 16 bits and would cut off what is larger.
    """
    largest = torch.full((1, 64), 127.0)
    exact = (
        float(torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32(largest, 1.0, 128, packed(largest)))
        == 64 * 127 * 127
    )
    return 127 if exact else 63


@torch.no_grad()
def _largest_inputs(model: Any, layers: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """
    The magnitudes that the input channels of each layer reach in a few random texts. Which channels are large is a
    trait of the weights: calibrating with real text gave no better embeddings.
    """
    largest: dict[str, Tensor] = {}

    def look(name: str) -> Any:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            seen = inputs[0].detach().flatten(0, -2).abs().float()
            if seen.shape[0]:
                largest[name] = torch.maximum(seen.amax(dim=0), largest.get(name, torch.zeros(())))

        return hook

    handles = [layer.register_forward_pre_hook(look(name)) for name, layer in layers.items()]
    try:
        rows = model.get_input_embeddings().weight.shape[0]
        generator = torch.Generator().manual_seed(0)
        model(input_ids=torch.randint(rows, CALIBRATION_SHAPE, generator=generator), use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return largest
