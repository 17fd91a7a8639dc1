"""What `from_pretrained` refuses by name: dtypes that weights cannot have, pickles, sections that cannot be read."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig
from support.tiny_models import tiny_backbone, tiny_model

from onegen_hf import OneGenForCausalLM
from onegen_hf.modeling.adapters import save_adapter
from onegen_hf.modeling.auto import load_adapter
from onegen_hf.modeling.backbones import load_backbone
from onegen_hf.training.adapter import add_adapter


@pytest.fixture
def saved(tokenizer: Any, tmp_path: Path) -> Path:
    tiny_model(tokenizer).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize("dtype", ["float99", "int8", torch.int8, "nn", "torch.float32", 16, ""])
@pytest.mark.parametrize("loader", [OneGenForCausalLM.from_pretrained, load_backbone])
def test_dtypes_that_weights_cannot_have(loader: Any, dtype: Any, saved: Path) -> None:
    with pytest.raises(ValueError, match=f"dtype={dtype!r} is no dtype of weights: choose one of 'auto', 'float32'"):
        loader(str(saved), dtype=dtype)


@pytest.mark.parametrize("dtype", ["float16", torch.bfloat16, "float64", "auto", None])
def test_dtypes_that_they_can(dtype: Any, saved: Path) -> None:
    assert OneGenForCausalLM.from_pretrained(saved, dtype=dtype).dtype.is_floating_point


def test_weights_as_a_pickle_are_read_only_when_asked_for(saved: Path, tokenizer: Any) -> None:
    state = OneGenForCausalLM.from_pretrained(saved).state_dict()
    (saved / "model.safetensors").unlink()
    torch.save(state, saved / "pytorch_model.bin")
    for loader in (OneGenForCausalLM.from_pretrained, load_backbone):
        with pytest.raises(OSError, match=r"no weights as \*.safetensors.*pass use_safetensors=False if you trust"):
            loader(str(saved))
    with pytest.raises(OSError, match="use_safetensors=False"):
        OneGenForCausalLM.from_backbone(saved, tokenizer)
    loaded = OneGenForCausalLM.from_pretrained(saved, use_safetensors=False)
    assert all(torch.equal(value, state[name]) for name, value in loaded.state_dict().items())


def test_the_same_for_an_adapter(base_tokenizer: Any, tmp_path: Path) -> None:
    tiny_backbone().save_pretrained(tmp_path / "base")
    tokenizer = copy.deepcopy(base_tokenizer)
    model = OneGenForCausalLM.from_backbone(tmp_path / "base", tokenizer)
    wrapped = add_adapter(model, tokenizer, LoraConfig(r=2, target_modules=["q_proj"]))
    save_adapter(wrapped, tokenizer, tmp_path / "adapter")
    (tmp_path / "adapter" / "adapter_model.safetensors").rename(tmp_path / "adapter" / "adapter_model.bin")
    for loader in (OneGenForCausalLM.from_pretrained, load_adapter):
        with pytest.raises(
            FileNotFoundError, match="no adapter_model.safetensors.*use_safetensors=False if you trust"
        ):
            loader(tmp_path / "adapter")


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ([1], r"an 'onegen' section that cannot be read: onegen=\[1\] must be a mapping of settings"),
        ("text", "an 'onegen' section that cannot be read: onegen='text' must be a mapping of settings"),
        ({"scale": 0}, "an 'onegen' section that cannot be read: .*scale"),
        ({"granularity": "word"}, "an 'onegen' section that cannot be read: onegen.granularity='word'"),
        ({"max_inserted_tokens": "128"}, "an 'onegen' section that cannot be read: .*"),
        ({"passage_template": 5}, "an 'onegen' section that cannot be read: .*"),
    ],
)
def test_a_section_that_cannot_be_read(section: Any, message: str, saved: Path) -> None:
    content = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps({**content, "onegen": section}))
    with pytest.raises(ValueError, match=f"model: config.json has {message}"):
        OneGenForCausalLM.from_pretrained(saved)
