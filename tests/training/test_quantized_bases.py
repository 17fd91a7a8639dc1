"""QLoRA: an adapter on a 4- or 8-bit base is trained, saved, and merged into the base as it is published."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.sample_corpus import build_tokenizer, make_repository
from support.tiny_models import quantizable_backbone
from support.training_setup import assert_same_weights, dataset, trainer_for, weights
from trl import ModelConfig

from onegen_hf import OneGenForCausalLM
from onegen_hf.cli.main import main
from onegen_hf.modeling.auto import load_adapter
from onegen_hf.training.run import FormatArguments, load_for_training

bitsandbytes = pytest.importorskip("bitsandbytes", reason="the extra `quantization` is not installed")
KINDS = {"4-bit": {"load_in_4bit": True}, "nested": {"load_in_4bit": True, "use_bnb_nested_quant": True},
         "8-bit": {"load_in_8bit": True}}  # fmt: skip


@pytest.fixture
def base(tmp_path: Path) -> str:
    quantizable_backbone().save_pretrained(tmp_path / "base")
    build_tokenizer().save_pretrained(tmp_path / "base")
    return str(tmp_path / "base")


def quantised_layers(model: Any) -> list[str]:
    kinds = (bitsandbytes.nn.Linear4bit, bitsandbytes.nn.Linear8bitLt)
    return [name for name, module in model.named_modules() if isinstance(module, kinds)]


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_on_a_quantised_base(kind: str, base: str, tmp_path: Path) -> None:
    options = ModelConfig(
        base, use_peft=True, lora_r=4, lora_dropout=0.0, lora_target_modules=["q_proj", "v_proj"], **KINDS[kind]
    )
    model, tokenizer, adapter = load_for_training(options, FormatArguments())
    assert len(quantised_layers(model)) == 14  # seven in each of two layers; neither embeddings nor head
    trainer = trainer_for(
        tokenizer, tmp_path / "run", model=model, peft_config=adapter, max_steps=3, optim="adamw_torch",
        learning_rate=0.01, gradient_checkpointing=True,
    )  # fmt: skip
    before = weights(trainer.model)
    trainer.train()
    moved = {name for name, value in weights(trainer.model).items() if not torch.equal(value, before[name])}
    assert any("lora_B" in name for name in moved) and any("trainable_tokens_delta" in name for name in moved)
    assert all("lora" in name or "trainable_tokens" in name for name in moved)
    trainer.save_model()

    merged = OneGenForCausalLM.from_pretrained(tmp_path / "run").eval()
    assert not quantised_layers(merged) and not hasattr(merged.config, "quantization_config")
    apart = load_adapter(tmp_path / "run", merge=False).eval()
    ids = torch.tensor([[5, 9, tokenizer.convert_tokens_to_ids("[RQ]"), 7]])
    torch.testing.assert_close(merged(ids).logits, apart(ids).logits, rtol=1e-4, atol=1e-4)
    merged.save_pretrained(tmp_path / "merged")
    again = OneGenForCausalLM.from_pretrained(tmp_path / "merged").eval()
    assert torch.equal(again(ids).logits, merged(ids).logits)


def test_resuming_and_evaluating(base: str, tmp_path: Path) -> None:
    """A run that is resumed on a base that is quantised again ends where the whole run ends."""
    options = ModelConfig(
        base, use_peft=True, lora_r=4, lora_dropout=0.0, lora_target_modules=["q_proj"], load_in_4bit=True
    )
    settings: dict[str, Any] = dict(
        max_steps=3, optim="adamw_torch", learning_rate=0.01, save_strategy="steps", save_steps=1,
        eval_dataset=dataset(),
    )  # fmt: skip
    found = []
    for checkpoint in (None, str(tmp_path / "run" / "checkpoint-2")):
        model, tokenizer, adapter = load_for_training(options, FormatArguments())
        trainer = trainer_for(tokenizer, tmp_path / "run", model=model, peft_config=adapter, **settings)
        trainer.train(resume_from_checkpoint=checkpoint)
        trained = {name: value for name, value in weights(trainer.model).items() if "lora" in name}
        found.append((trained, trainer.evaluate()["eval_mrr"]))
    assert_same_weights(found[1][0], found[0][0], atol=1e-5)
    assert found[1][1] == pytest.approx(found[0][1], rel=1e-3)


def test_an_evaluation_leaves_the_base_as_it_is(base: str, tmp_path: Path) -> None:
    """Also where the processor has AVX-512 with bfloat16, for which bitsandbytes repacks weights."""
    options = ModelConfig(base, use_peft=True, lora_target_modules=["q_proj"], load_in_4bit=True)
    model, tokenizer, adapter = load_for_training(options, FormatArguments())
    trainer = trainer_for(tokenizer, tmp_path, model=model, peft_config=adapter, eval_dataset=dataset())
    layers = [model.get_submodule(name) for name in quantised_layers(model)]
    before = [(layer.weight.data.clone(), layer.weight.quant_state.absmax.clone()) for layer in layers]
    trainer.evaluate()
    for layer, (weight, absmax) in zip(layers, before, strict=True):
        assert torch.equal(layer.weight.data, weight) and torch.equal(layer.weight.quant_state.absmax, absmax)


def test_by_the_command_line(base: str, tmp_path: Path) -> None:
    make_repository(tmp_path / "data")
    common = ["train", "--dataset", str(tmp_path / "data"), "--load-in-4bit", "true", "--bnb-4bit-quant-type", "fp4",
              "--max-steps", "1", "--per-device-train-batch-size", "2", "--use-cpu", "true", "--report-to", "none",
              "--save-strategy", "no"]  # fmt: skip
    adapter = ["--use-peft", "true", "--lora-r", "2", "--lora-target-modules", "q_proj"]
    main([*common, *adapter, "--model", base, "--output-dir", str(tmp_path / "run")])
    assert OneGenForCausalLM.from_pretrained(tmp_path / "run").dtype == torch.float32
    # The adapter is trained further, on a base that is quantised again.
    main([*common, "--model", str(tmp_path / "run"), "--output-dir", str(tmp_path / "more")])
    assert (tmp_path / "more" / "adapter_model.safetensors").is_file()
