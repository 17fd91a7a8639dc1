"""`LoraLinear` computes what PEFT's layer does."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from onegen_hf.training.lora_linear import LoraLinear, LoraProduct, use_fast_lora_layers

IDS = torch.tensor([[5, 9, 2, 30, 7], [8, 1, 44, 3, 6]])


def adapted(**options: Any) -> PeftModel:
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        vocab_size=64, attention_bias=True,
    )  # fmt: skip
    settings = {"r": 4, "lora_alpha": 12, "target_modules": "all-linear", "init_lora_weights": False, **options}
    return get_peft_model(LlamaForCausalLM(config), LoraConfig(**settings))


def step(model: PeftModel, ids: torch.Tensor = IDS) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    model.zero_grad()
    output = model(input_ids=ids, labels=ids)
    output.loss.backward()
    return output.logits.detach(), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def test_outputs_and_gradients_are_those_of_peft() -> None:
    plain = adapted()
    fast = copy.deepcopy(plain)
    assert use_fast_lora_layers(fast) == 14
    (expected, gradients), (logits, fast_gradients) = step(plain), step(fast)
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-6)
    assert gradients.keys() == fast_gradients.keys() and len(gradients) == 28
    for name, gradient in gradients.items():
        torch.testing.assert_close(fast_gradients[name], gradient, rtol=1e-4, atol=1e-6)


def test_the_product_by_gradcheck() -> None:
    torch.manual_seed(0)
    x, down, up = (
        torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in ((2, 3, 5), (2, 5), (4, 2))
    )
    weight, bias = torch.randn(4, 5, dtype=torch.float64), torch.randn(4, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda *given: LoraProduct.apply(given[0], weight, bias, *given[1:]), (x, down, up)
    )
    assert torch.autograd.gradcheck(
        lambda *given: LoraProduct.apply(given[0], weight, None, *given[1:]), (x, down, up)
    )


def test_autocast_computes_in_its_dtype_and_keeps_gradients_in_that_of_the_weights() -> None:
    plain = adapted()
    fast = copy.deepcopy(plain)
    use_fast_lora_layers(fast)
    with torch.autocast("cpu", torch.bfloat16):
        (expected, gradients), (logits, fast_gradients) = step(plain), step(fast)
    assert logits.dtype == torch.bfloat16
    torch.testing.assert_close(logits, expected, rtol=0.05, atol=0.05)
    for name, gradient in gradients.items():
        assert fast_gradients[name].dtype == torch.float32
        assert torch.cosine_similarity(fast_gradients[name].flatten(), gradient.flatten(), dim=0) > 0.99


def test_a_bfloat16_base_with_float32_adapters() -> None:
    plain = adapted().to(torch.bfloat16)
    for name, parameter in plain.named_parameters():
        if "lora" in name:
            parameter.data = parameter.data.float()
    fast = copy.deepcopy(plain)
    use_fast_lora_layers(fast)
    torch.testing.assert_close(step(fast)[0], step(plain)[0], rtol=0.05, atol=0.05)


@pytest.mark.parametrize(
    "options", [{"lora_dropout": 0.1}, {"use_dora": True}, {"lora_bias": True}], ids=["dropout", "dora", "bias"]
)
def test_other_layers_stay_as_they_are(options: dict[str, Any]) -> None:
    model = adapted(**options)
    assert use_fast_lora_layers(model) == 0
    assert not any(isinstance(layer, LoraLinear) for layer in model.modules())


def test_disabled_merged_and_several_adapters_are_peft_s_affair() -> None:
    plain = adapted()
    fast = copy.deepcopy(plain)
    use_fast_lora_layers(fast)
    with plain.disable_adapter(), fast.disable_adapter(), torch.no_grad():
        assert torch.equal(fast(IDS).logits, plain(IDS).logits)
    for model in (plain, fast):
        model.add_adapter("second", LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False))
    fast.load_state_dict(plain.state_dict())
    for model in (plain, fast):
        model.base_model.set_adapter(["default", "second"])
    with torch.no_grad():
        torch.testing.assert_close(fast(IDS).logits, plain(IDS).logits, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(fast.merge_and_unload()(IDS).logits, plain(IDS).logits, rtol=1e-4, atol=1e-5)


def test_names_pickling_and_checkpointing_of_activations_are_kept() -> None:
    plain = adapted()
    fast = copy.deepcopy(plain)
    use_fast_lora_layers(fast)
    assert list(fast.state_dict()) == list(plain.state_dict())
    layer = next(layer for layer in fast.modules() if isinstance(layer, LoraLinear))
    assert isinstance(pickle.loads(pickle.dumps(layer)), LoraLinear)
    expected = step(plain)[1]
    fast.enable_input_require_grads()
    fast.gradient_checkpointing_enable({"use_reentrant": False})
    fast.train()
    for name, gradient in step(fast)[1].items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-4, atol=1e-6)


def test_a_frozen_input_needs_no_gradient() -> None:
    layer = next(layer for layer in adapted().modules() if isinstance(layer, nn.Module) and hasattr(layer, "lora_A"))
    layer.__class__ = LoraLinear
    layer(torch.randn(3, 32)).sum().backward()
    assert layer.lora_A["default"].weight.grad is not None
