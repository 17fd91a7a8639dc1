"""The language-model loss without logits equals the one with logits, and leaves the rest of the forward as it is."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from support.stand_in_kernels import plain_cross_entropy
from transformers import AutoModelForCausalLM, CohereConfig, GraniteConfig, PhiConfig

from onegen_hf import OneGenForCausalLM
from onegen_hf.modeling import fused_loss
from onegen_hf.modeling.fused_loss import has_plain_head

SIZES: dict[str, Any] = dict(
    hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, vocab_size=400,
    initializer_range=0.2, bos_token_id=1, eos_token_id=3, pad_token_id=0,
)  # fmt: skip
SCALED: dict[str, Any] = {
    "multiplied": CohereConfig(logit_scale=0.25, **SIZES),
    "divided": GraniteConfig(logits_scaling=3.0, **SIZES),
    "a bias": PhiConfig(**SIZES),
}
LOSSES = ("loss", "loss_gen", "loss_ret", "retrieval_embeddings", "passage_embeddings")


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused_loss, "liger_kernel", plain_cross_entropy)


def step(model: Any, batch: dict[str, Any], fused: bool) -> tuple[Any, dict[str, torch.Tensor]]:
    """Output and gradients of a training step."""
    model.train()
    model.zero_grad()
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    base.fused_cross_entropy = fused
    output = model(**batch, num_items_in_batch=31)
    output.loss.backward()
    return output, {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_same_step(model: Any, batch: dict[str, Any]) -> None:
    expected, expected_gradients = step(model, batch, fused=False)
    output, gradients = step(model, batch, fused=True)
    assert output.logits is None and expected.logits.shape[0] > 0
    for name in LOSSES:
        torch.testing.assert_close(getattr(output, name), getattr(expected, name), rtol=1e-5, atol=1e-6)
    assert gradients.keys() == expected_gradients.keys()
    for name, gradient in expected_gradients.items():
        # An element may be a small difference of large terms: its rounding is theirs.
        atol = 1e-6 * max(1.0, gradient.abs().max().item())
        torch.testing.assert_close(gradients[name], gradient, rtol=1e-4, atol=atol, msg=lambda text, n=name: n + text)


def test_both_losses_and_all_gradients(tiny: SimpleNamespace, stand_in: None) -> None:
    assert has_plain_head(tiny.model)
    assert_same_step(tiny.model, tiny.batch)


@pytest.mark.parametrize("kind", SCALED)
def test_scaled_logits(kind: str, llama: SimpleNamespace, stand_in: None) -> None:
    torch.manual_seed(0)
    backbone = AutoModelForCausalLM.from_config(SCALED[kind]).float()
    if kind == "a bias":
        torch.nn.init.normal_(backbone.lm_head.bias)
    model = OneGenForCausalLM.from_backbone(backbone, llama.tokenizer)
    assert has_plain_head(model)
    assert_same_step(model, llama.batch)


@pytest.mark.parametrize(
    ("adapter", "plain"),
    [
        ({"target_modules": ["q_proj"]}, True),
        ({"target_modules": ["q_proj"], "trainable_token_indices": [5, 9]}, True),
        ({"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]}, True),
        ({"target_modules": ["q_proj", "lm_head"]}, False),
    ],
    ids=["plain", "rows of tokens", "a trained head", "an adapter on the head"],
)
@pytest.mark.parametrize("architecture", ["llama_tied", "llama_untied"])
def test_adapters(make: Any, architecture: str, adapter: dict[str, Any], plain: bool, stand_in: None) -> None:
    tiny = make(architecture)
    if "trainable_token_indices" in adapter and architecture == "llama_untied":
        rows = adapter["trainable_token_indices"]
        adapter = {**adapter, "trainable_token_indices": {"embed_tokens": rows, "lm_head": rows}}
    model = get_peft_model(tiny.model, LoraConfig(init_lora_weights=False, r=2, **adapter))
    assert has_plain_head(tiny.model) == plain
    if plain:
        assert_same_step(model, tiny.batch)


def test_the_head_makes_no_logits(llama: SimpleNamespace, stand_in: None) -> None:
    sizes: list[int] = []
    llama.model.lm_head.register_forward_hook(lambda module, args, output: sizes.append(output.numel()))
    step(llama.model, llama.batch, fused=True)
    assert sizes == [1]


def test_evaluation_keeps_its_logits(llama: SimpleNamespace, stand_in: None) -> None:
    llama.model.fused_cross_entropy = True
    output = llama.model.eval()(**llama.batch)
    assert output.logits.shape[0] == (llama.batch["labels"][:, 1:] != -100).sum()


def test_a_batch_without_labels(llama: SimpleNamespace, stand_in: None) -> None:
    batch = {**llama.batch, "labels": torch.full_like(llama.batch["labels"], -100)}
    output, gradients = step(llama.model, batch, fused=True)
    assert output.loss_gen == 0 and output.loss == output.loss_ret and gradients


def test_a_product_that_is_not_seen(
    llama: SimpleNamespace, stand_in: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """ZeRO-3 puts a function of its own in the place of torch's product; the loss then comes from logits."""
    head = llama.model.lm_head
    monkeypatch.setattr(head, "forward", lambda states: states @ head.weight.T)
    assert not has_plain_head(llama.model)
    expected, expected_gradients = step(llama.model, llama.batch, fused=False)
    output, gradients = step(llama.model, llama.batch, fused=True)
    assert "is computed from its logits" in caplog.text
    assert output.loss == expected.loss and output.logits.shape == expected.logits.shape
    assert all(torch.equal(gradient, expected_gradients[name]) for name, gradient in gradients.items())


def test_a_head_that_does_more(llama: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    class Doubled(type(llama.model)):  # type: ignore[misc]
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            output = super().forward(*args, **kwargs)
            output.logits = output.logits * 2
            return output

    llama.model.__class__ = Doubled
    assert not has_plain_head(llama.model)


@pytest.mark.liger
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 1e-2)], ids=["float32", "bfloat16"]
)
@pytest.mark.parametrize("architecture", ["llama_tied", "gemma2"])
def test_ligers_kernel(make: Any, architecture: str, dtype: torch.dtype, tolerance: float) -> None:
    """`pytest -m liger` on a GPU; elsewhere `TRITON_INTERPRET=1 pytest -m liger` runs it in Triton's interpreter."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu" and architecture == "gemma2":
        pytest.skip("Triton's interpreter does not take the cap of Liger's kernel")
    assert device == "cuda" or os.environ.get("TRITON_INTERPRET") == "1", "needs a GPU, or TRITON_INTERPRET=1"
    tiny = make(architecture)
    model = tiny.model.to(device, dtype)
    batch = {name: value.to(device) for name, value in tiny.batch.items()}
    expected, expected_gradients = step(model, batch, fused=False)
    output, gradients = step(model, batch, fused=True)
    assert output.logits is None
    for name in LOSSES:
        value = getattr(expected, name).float()
        assert (getattr(output, name).float() - value).norm() <= tolerance * value.norm(), name
    for name, gradient in expected_gradients.items():
        # A gradient that is a sum of many roundings may be off by more than the loss.
        assert (gradients[name] - gradient).float().norm() <= 5 * tolerance * gradient.float().norm() + 1e-6, name
