"""Operations of a step, and what a device can do."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from peft import LoraConfig
from support.tiny_models import tiny_model

from onegen_hf.training.trainer import add_adapter
from onegen_hf.training.utilization import StepFlops, peak_tflops, work_of

# Of SIZES in tests/support: 2 layers, width 32, 4 heads of 8, 2 of them for keys, 48 in between.
LAYER = 32 * 32 + 2 * 32 * 16 + 32 * 32 + 3 * 32 * 48


def test_operations_of_a_llama(base_tokenizer: Any) -> None:
    model = tiny_model(copy.deepcopy(base_tokenizer), "llama_untied")
    vocabulary = model.lm_head.weight.shape[0]
    flops = StepFlops.of(model)
    assert flops == StepFlops(6 * 2 * LAYER, 6 * 2 * 32, 6 * 32 * vocabulary)
    assert flops.total(10, 50, 3) == 10 * flops.per_token + 50 * flops.per_squared_length + 3 * flops.per_prediction


def test_frozen_weights_cost_less(base_tokenizer: Any) -> None:
    tokenizer = copy.deepcopy(base_tokenizer)
    model = tiny_model(tokenizer, "llama_untied")
    adapted = add_adapter(model, tokenizer, LoraConfig(r=2, target_modules=["q_proj"]))
    adapter = 2 * (2 * 32 + 32 * 2)
    assert StepFlops.of(adapted).per_token == 4 * 2 * LAYER + 6 * adapter


def test_experts_count_as_often_as_a_token_visits_them(base_tokenizer: Any) -> None:
    model = tiny_model(copy.deepcopy(base_tokenizer), "mixtral")
    attention = 32 * 32 + 2 * 32 * 16 + 32 * 32
    experts = 2 * 3 * 32 * 48
    per_layer = StepFlops.of(model).per_token / 6 / 2
    assert attention + experts <= per_layer <= attention + experts + 4 * 32  # with or without the router


@pytest.mark.parametrize("architecture", ["gpt2", "phi3", "gemma2"])
def test_other_architectures(architecture: str, base_tokenizer: Any) -> None:
    model = tiny_model(copy.deepcopy(base_tokenizer), architecture)
    layers = sum(
        p.numel() for name, p in model.named_parameters() if p.ndim == 2 and "layers" in name or ".h." in name
    )
    assert StepFlops.of(model).per_token == pytest.approx(6 * layers, rel=0.05)


def test_work_of_a_batch() -> None:
    tokens, squares = work_of(torch.tensor([[1, 1, 1], [1, 0, 0]]))
    assert (float(tokens), float(squares)) == (4.0, 10.0)


def test_peaks(monkeypatch: pytest.MonkeyPatch) -> None:
    assert peak_tflops(torch.device("cpu")) is None
    for name, peak in {
        "NVIDIA H100 80GB HBM3": 989.0, "NVIDIA H100 PCIe": 756.0, "NVIDIA A100-SXM4-80GB": 312.0,
        "NVIDIA L40S": 362.0, "NVIDIA GeForce RTX 4090": 165.2, "NVIDIA GB200": 2500.0, "Another": None,
    }.items():  # fmt: skip
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda _, name=name: name)
        assert peak_tflops(torch.device("cuda")) == peak
