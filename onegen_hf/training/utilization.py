"""How much of a device a training uses: operations of a step, and their share of what the device can do (MFU)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..data.targets import IGNORE_INDEX

PEAK_TFLOPS = {
    "GB200": 2500.0, "B200": 2250.0, "H200": 989.0, "GH200": 989.0, "H100 PCIe": 756.0, "H100 NVL": 835.0,
    "H100": 989.0, "H800": 989.0, "A100": 312.0, "A800": 312.0, "A40": 149.7, "A10G": 70.0, "A10": 125.0,
    "L40S": 362.0, "L40": 181.0, "L4": 121.0, "V100": 125.0, "RTX 4090": 165.2, "RTX 3090": 71.0,
    "MI300X": 1307.0, "MI250X": 383.0,
}  # fmt: skip
"""Dense bfloat16 (V100: float16) TFLOP/s by a part of the device's name, as their makers state them."""


def peak_tflops(device: torch.device) -> float | None:
    """Dense TFLOP/s in 16 bits that the maker of a GPU states; `None` for others and for unknown ones."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((peak for part, peak in PEAK_TFLOPS.items() if part in name), None)


@dataclass(frozen=True)
class StepFlops:
    """
    Floating-point operations of a training step, forward and backward, as a sum over its rows.

    Only what the step needs is counted: no padding, no repeated forward of activation checkpointing. A frozen weight
    costs four operations per token (its gradient is not computed), a trained one six.

    Attributes:
        per_token (`int`): Of the layers.
        per_squared_length (`int`): Of attention, times the squared length of each row; each token sees those before
            it.
        per_prediction (`int`): Of the language-model head, at each labelled position.
    """

    per_token: int
    per_squared_length: int
    per_prediction: int

    @classmethod
    def of(cls, model: nn.Module) -> StepFlops:
        """
        Args:
            model (`PreTrainedModel` or `PeftModel`): A decoder. Sharded and quantised weights count with their full
                size, experts as many as a token visits.
        """
        config: Any = model.config.get_text_config()  # type: ignore[operator, union-attr]
        head = model.get_output_embeddings()  # type: ignore[operator]
        parts_of_head = set() if head is None else set(head.modules())
        per_token, per_prediction = 0, 0
        for module in model.modules():
            if module in parts_of_head:
                per_prediction += _cost(module)
            else:
                per_token += _cost(module) + _experts_cost(module, config)
        heads = config.num_attention_heads
        width = heads * (getattr(config, "head_dim", None) or config.hidden_size // heads)
        return cls(per_token, 6 * config.num_hidden_layers * width, per_prediction)

    def total(self, tokens: Any, squared_lengths: Any, predictions: Any) -> Any:
        """Operations of a step; arguments are numbers or 0-d tensors."""
        return self.per_token * tokens + self.per_squared_length * squared_lengths + self.per_prediction * predictions


def _cost(module: nn.Module) -> int:
    """Operations per token of a linear layer; 0 for other modules."""
    if isinstance(getattr(module, "base_layer", None), nn.Module):
        return 0  # an adapter's wrapper, whose parts are counted on their own
    weight = getattr(module, "weight", None)
    sizes = [getattr(module, name, None) for name in ("in_features", "out_features")]
    if sizes == [None, None]:
        sizes = [getattr(module, name, None) for name in ("nx", "nf")]  # transformers' Conv1D
    if not isinstance(weight, Tensor) or not all(isinstance(size, int) for size in sizes):
        return 0
    return sizes[0] * sizes[1] * (6 if weight.requires_grad else 4)  # type: ignore[operator]


def _experts_cost(module: nn.Module, config: Any) -> int:
    """Operations per token of experts whose weights are stacked in one tensor."""
    visited = getattr(config, "num_experts_per_tok", None)
    stacked = [p for p in module.parameters(recurse=False) if p.ndim == 3]
    if not visited or not stacked:
        return 0
    return sum(
        getattr(weight, "ds_numel", weight.numel()) // weight.shape[0] * visited * (6 if weight.requires_grad else 4)
        for weight in stacked
    )


def work_of(attention_mask: Tensor) -> tuple[Tensor, Tensor]:
    """Tokens of a batch and the sum of the squared lengths of its rows, both 0-d, on the batch's device."""
    lengths = attention_mask.sum(dim=1).double()
    return lengths.sum(), lengths.square().sum()


class Utilization:
    """
    Tokens per second and MFU since the last call of [`~Utilization.summary`].

    Args:
        model (`nn.Module`): As it is trained.
        device (`torch.device`)
    """

    def __init__(self, model: nn.Module, device: torch.device) -> None:
        self.flops = StepFlops.of(model)
        self.peak = peak_tflops(device)
        self.device = device
        self._start()

    def _start(self) -> None:
        self.begin = time.perf_counter()
        self.tokens = torch.zeros((), dtype=torch.float64, device=self.device)
        self.operations = torch.zeros((), dtype=torch.float64, device=self.device)

    def add(self, inputs: Mapping[str, Any]) -> None:
        """
        Count a batch; the device is not waited for.

        Args:
            inputs (`Mapping[str, Tensor]`): Of the model's joint forward.
        """
        predictions = (inputs["labels"][:, 1:] != IGNORE_INDEX).sum()
        for name in ("attention_mask", "passage_attention_mask"):
            if name in inputs:
                tokens, squares = work_of(inputs[name])
                self.tokens += tokens
                self.operations += self.flops.total(tokens, squares, predictions)
                predictions = torch.zeros_like(predictions)

    def summary(self, over_processes: Callable[[Tensor], Tensor], processes: int) -> dict[str, float]:
        """
        `tokens_per_second` of all processes, and `mfu` where the device's peak is known; counting begins anew.

        Args:
            over_processes (`Callable`): Sums a tensor over the processes.
            processes (`int`)
        """
        seconds = max(time.perf_counter() - self.begin, 1e-9)
        found = {"tokens_per_second": over_processes(self.tokens).item() / seconds}
        if self.peak is not None:
            found["mfu"] = over_processes(self.operations).item() / seconds / processes / self.peak / 1e12
        self._start()
        return found
