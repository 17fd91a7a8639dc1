"""`quantize_for_cpu`: int8 linear layers, with which a model decodes faster on a CPU."""

from __future__ import annotations

import functools
import threading
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D
from transformers.quantizers.base import HfQuantizer
from transformers.utils.quantization_config import QuantizationConfigMixin

from .row_attention import attend_exactly

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
        # The largest magnitude, without a tensor of magnitudes.
        scales = torch.maximum(states.amax(dim=-1, keepdim=True), states.amin(dim=-1, keepdim=True).neg_())
        scales.clamp_(min=_TINY)
        products = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32(
            states.div_(scales), 1 / self.steps, self.steps + 1, self.packed
        ).mul_(scales)
        return products if self.bias is None else products.add_(self.bias)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class Int8Part(nn.Module):
    """
    One of several linear layers that read the same tensor, such as the projections to queries, keys and values: the
    first of them that is asked computes all.

    Args:
        shared ([`SharedProducts`]): Of all parts.
        number (`int`): Which of them this one is.

    Shapes: as [`Int8Linear`].
    """

    def __init__(self, shared: SharedProducts, number: int) -> None:
        super().__init__()
        self.shared = shared
        self.number = number

    def forward(self, states: Tensor) -> Tensor:
        return self.shared.part(states, self.number)


class SharedProducts(nn.Module):
    """
    The layers behind some [`Int8Part`]s as one.

    Args:
        layer ([`Int8Linear`]): Its outputs are those of the parts, one after the other.
        sizes (`Sequence[int]`): Outputs of each part.
    """

    def __init__(self, layer: Int8Linear, sizes: Sequence[int]) -> None:
        super().__init__()
        self.layer = layer
        self.sizes = list(sizes)
        self._ready: tuple[Tensor, tuple[Tensor, ...]] | None = None

    def part(self, states: Tensor, number: int) -> Tensor:
        """The outputs of one part for `states`, of shape `(..., sizes[number])`."""
        # Read once: another thread that runs the same model may put its own there, and both stay right.
        ready = self._ready
        if ready is None or ready[0] is not states:
            ready = self._ready = states, self.layer(states).split(self.sizes, dim=-1)
        if number == len(self.sizes) - 1:
            self._ready = None
        return ready[1][number]


class Int8Config(QuantizationConfigMixin):
    """Names the method in what transformers says about a quantised model."""

    def __init__(self) -> None:
        self.quant_method = "int8 of onegen_hf"


class Int8Quantizer(HfQuantizer):
    """Tells transformers what a quantised model can't do: be saved, or trained."""

    def is_serializable(self) -> bool:
        return False

    @property
    def is_trainable(self) -> bool:
        return False


def quantize_for_cpu(model: Any) -> Any:
    """
    Turn the linear layers of a model into [`Int8Linear`], in place; everything else becomes float32. Neighbours that
    read the same tensor become one.

    SmolLM2-135M takes 1.8 times less processor time per token than in bfloat16. Indexes of the unquantised model stay
    valid: embeddings keep a cosine of 0.995 with those in float32. The result answers, searches and encodes passages;
    it can be neither trained nor saved, so keep the checkpoint.

    Last bits of attention depend on how many tokens attend at a time, and the layers after it turn them into steps of
    8 bits. Entity linking therefore pads what attends to sizes that sum alike (see [`exact_attention`]), or attends in
    float64 where the processor has none: it marks the same mentions whatever the number of drafts.

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
    inputs = _calibrate(model, layers)
    for names in _reading_the_same(layers, inputs):
        merged = merge_layers(
            [layers[name] for name in names], inputs[names[0]].largest if names[0] in inputs else None
        )
        parts: list[nn.Module] = [merged]
        if len(names) > 1:
            shared = SharedProducts(merged, [_weight(layers[name]).shape[0] for name in names])
            parts = [Int8Part(shared, number) for number in range(len(names))]
        for name, part in zip(names, parts, strict=True):
            parent, _, own = name.rpartition(".")
            setattr(model.get_submodule(parent), own, part)
    model.float()
    attend_exactly(model.modules())
    model.config.dtype = torch.float32
    model.hf_quantizer = Int8Quantizer(Int8Config(), pre_quantized=False)
    return model


def is_quantized_for_cpu(model: Any) -> bool:
    """Whether a model comes from [`quantize_for_cpu`]."""
    return isinstance(getattr(model, "hf_quantizer", None), Int8Quantizer)


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


def _weight(layer: nn.Module) -> Tensor:
    """Of shape `(out_features, in_features)`."""
    return layer.weight.T if isinstance(layer, Conv1D) else layer.weight  # type: ignore[return-value, union-attr]


def merge_layers(layers: Sequence[nn.Module], largest: Tensor | None) -> Int8Linear:
    """Layers with the same input as one, their outputs one after the other."""
    weights, biases = [_weight(layer) for layer in layers], [layer.bias for layer in layers]
    bias = None
    if any(own is not None for own in biases):
        parts = zip(weights, biases, strict=True)
        bias = torch.cat([weight.new_zeros(len(weight)) if own is None else own for weight, own in parts])  # type: ignore[misc]
    return Int8Linear(torch.cat(weights), bias, largest)


@dataclass
class _LayerInput:
    """What a layer read: the tensor itself, how often it had been written to, and each channel's largest magnitude."""

    states: Tensor
    version: int
    largest: Tensor


@torch.no_grad()
def _calibrate(model: Any, layers: Mapping[str, nn.Module]) -> dict[str, _LayerInput]:
    """
    The input of each layer for a few random texts, in the order of the calls; layers that were not called lack. Which
    channels are large is a trait of the weights: calibrating with real text gave no better embeddings.
    """
    found: dict[str, _LayerInput] = {}

    def look(name: str) -> Any:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            seen = inputs[0].flatten(0, -2).abs().float()
            if seen.shape[0]:
                before = found.pop(name, None)
                largest = seen.amax(dim=0) if before is None else torch.maximum(seen.amax(dim=0), before.largest)
                found[name] = _LayerInput(inputs[0], inputs[0]._version, largest)

        return hook

    handles = [layer.register_forward_pre_hook(look(name)) for name, layer in layers.items()]
    try:
        rows = model.get_input_embeddings().weight.shape[0]
        generator = torch.Generator().manual_seed(0)
        model(input_ids=torch.randint(rows, CALIBRATION_SHAPE, generator=generator), use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return found


def _reading_the_same(layers: Mapping[str, nn.Module], inputs: Mapping[str, _LayerInput]) -> list[list[str]]:
    """Layers of one module that are called one after the other with one and the same tensor; others by themselves."""
    groups = [[name] for name in layers if name not in inputs]
    before: tuple[Any, ...] | None = None
    for name, read in inputs.items():
        key = (name.rpartition(".")[0], id(read.states), read.version)
        if key == before:
            groups[-1].append(name)
        else:
            groups.append([name])
        before = key
    return groups
