"""Every model option has an effect or is refused by name; DoRA, rsLoRA and saved modules survive merging."""

from __future__ import annotations

import copy
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support.sample_corpus import build_tokenizer
from support.tiny_models import tiny_backbone
from support.training_setup import trainer_for
from trl import ModelConfig

from onegen_hf import OneGenForCausalLM
from onegen_hf.training.model_options import (
    _OF_4_BITS,
    _OF_ADAPTERS,
    adapter_config,
    check_model_options,
    loading_options,
)
from onegen_hf.training.run import FormatArguments, load_for_training

CHECKED_BY_LOADING = {"model_name_or_path", "model_revision", "dtype", "attn_implementation"}
SWITCHES = {"use_peft", "load_in_4bit", "load_in_8bit", "lora_task_type"}


@pytest.fixture
def base(tmp_path: Path) -> str:
    tiny_backbone("llama_untied").save_pretrained(tmp_path / "base")
    build_tokenizer().save_pretrained(tmp_path / "base")
    return str(tmp_path / "base")


def test_every_option_is_accounted_for() -> None:
    names = {field.name for field in fields(ModelConfig)}
    assert names == CHECKED_BY_LOADING | SWITCHES | {*_OF_ADAPTERS, *_OF_4_BITS}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lora_r": 8}, "lora_r=8 has no effect without an adapter: add use_peft=True"),
        ({"use_dora": True}, "use_dora=True has no effect without an adapter"),
        ({"use_rslora": True}, "use_rslora=True has no effect without an adapter"),
        ({"lora_modules_to_save": ["lm_head"]}, "lora_modules_to_save=.* has no effect without an adapter"),
        ({"bnb_4bit_quant_type": "fp4"}, "bnb_4bit_quant_type='fp4' has no effect without load_in_4bit=True"),
        ({"use_bnb_nested_quant": True, "load_in_8bit": True, "use_peft": True}, "use_bnb_nested_quant=True has no"),
        ({"load_in_4bit": True}, "load_in_4bit=True: quantised weights can't be trained"),
        ({"load_in_8bit": True}, "load_in_8bit=True: quantised weights can't be trained"),
        ({"lora_task_type": "SEQ_CLS", "use_peft": True}, "lora_task_type='SEQ_CLS' is not what is trained"),
        ({"lora_r": 0, "use_peft": True}, "lora_r=0"),
    ],
)
def test_options_without_effect(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_model_options(ModelConfig("base", **changes), starts_from_adapter=False)


def test_options_for_an_adapter_that_is_trained_further() -> None:
    check_model_options(ModelConfig("adapter", dtype="bfloat16"), starts_from_adapter=True)
    with pytest.raises(ValueError, match=r"use_peft=True has no effect: adapter is an adapter .* own\s+settings"):
        check_model_options(ModelConfig("adapter", use_peft=True), starts_from_adapter=True)


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onegen_hf.importing.extras.is_package_available", lambda _: False)
    with pytest.raises(ImportError, match=r"load_in_4bit=True needs the package `bitsandbytes`.*\[quantization\]"):
        check_model_options(ModelConfig("base", use_peft=True, load_in_4bit=True), starts_from_adapter=False)


def test_loading_options_have_their_effect(base: str) -> None:
    options = ModelConfig(base, dtype="bfloat16", attn_implementation="eager")
    model, _, adapter = load_for_training(options, FormatArguments())
    assert model.dtype == torch.bfloat16 and model.config._attn_implementation == "eager" and adapter is None
    assert loading_options(ModelConfig(base, model_revision="v2"))["revision"] == "v2"
    assert "revision" not in loading_options(ModelConfig(base))


@pytest.mark.parametrize(
    "changes",
    [
        {"use_dora": True},
        {"use_rslora": True},
        {"lora_modules_to_save": ["lm_head"]},
        {"lora_modules_to_save": ["embed_tokens", "lm_head"], "use_dora": True},
    ],
    ids=["dora", "rslora", "head", "embeddings and head with dora"],
)
def test_adapters_survive_merging_and_saving(changes: dict[str, Any], base: str, tmp_path: Path) -> None:
    options = ModelConfig(
        base, use_peft=True, lora_r=4, lora_dropout=0.0, lora_target_modules=["q_proj", "v_proj"], **changes
    )
    model, tokenizer, adapter = load_for_training(options, FormatArguments())
    assert adapter.use_dora == options.use_dora and adapter.use_rslora == options.use_rslora
    trainer = trainer_for(
        tokenizer, tmp_path / "run", model=model, peft_config=adapter, max_steps=2, optim="adamw_torch",
        learning_rate=0.01,
    )  # fmt: skip
    before = copy.deepcopy(trainer.model.get_base_model().get_output_embeddings())
    trainer.train()
    trainer.save_model()
    ids = torch.tensor([[5, 9, tokenizer.convert_tokens_to_ids("[RQ]"), 7]])
    trained = trainer.model.eval()
    loaded = OneGenForCausalLM.from_pretrained(tmp_path / "run").eval()
    torch.testing.assert_close(loaded(ids).logits, trained(ids).logits, rtol=1e-3, atol=1e-3)
    files = load_file(tmp_path / "run" / "adapter_model.safetensors")
    assert any("magnitude" in name for name in files) == options.use_dora
    if options.lora_modules_to_save is None:
        assert any("trainable_tokens_delta" in name for name in files)
    else:
        assert any(name.endswith("lm_head.weight") for name in files)
        assert not torch.equal(before.weight[:5], loaded.lm_head.weight[:5])


def test_names_of_target_modules() -> None:
    assert adapter_config(ModelConfig("base")) is None
    for targets, expected in {"q_proj": {"q_proj"}, "all-linear": "all-linear", r".*\.q_proj": r".*\.q_proj"}.items():
        adapter = adapter_config(ModelConfig("base", use_peft=True, lora_target_modules=[targets]))
        assert adapter is not None and adapter.target_modules == expected
