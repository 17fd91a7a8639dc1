"""What `from_pretrained` refuses by name: dtypes that weights cannot have, pickles, sections that cannot be read."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig
from support.tiny_models import tiny_backbone, tiny_model
from transformers import pipeline

from onegen_hf import OneGenForCausalLM
from onegen_hf.checks import LoadingError
from onegen_hf.modeling.adapters import save_adapter
from onegen_hf.modeling.auto import load_adapter
from onegen_hf.modeling.backbones import load_backbone
from onegen_hf.modeling.tokenizers import load_tokenizer
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


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("./nowhere", FileNotFoundError, "='./nowhere': no such directory, and not the name of a Hub repository"),
        ("", ValueError, "='' is empty"),
        (None, TypeError, "=None must be a str or PathLike"),
        (5, TypeError, "=5 must be a str or PathLike"),
    ],
)
@pytest.mark.parametrize("loader", [OneGenForCausalLM.from_pretrained, load_adapter, load_tokenizer])
def test_names_of_no_checkpoint(loader: Any, name: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        loader(name)


def test_a_file_is_no_checkpoint(saved: Path) -> None:
    with pytest.raises(ValueError, match=r"config.json' is a file: give the directory that holds it"):
        OneGenForCausalLM.from_pretrained(saved / "config.json")


@pytest.mark.parametrize("argument", ["backbone", "tokenizer", "onegen_config"])
def test_arguments_of_from_backbone(argument: str, saved: Path, tokenizer: Any) -> None:
    arguments = {"backbone": saved, "tokenizer": tokenizer, "onegen_config": None, argument: 5}
    with pytest.raises(TypeError, match=f"{argument}=5 must be"):
        OneGenForCausalLM.from_backbone(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("content", ["{", "", "[1, 2]", "{}"])
def test_a_damaged_config(content: str, saved: Path) -> None:
    (saved / "config.json").write_text(content)
    with pytest.raises(ValueError, match=r"config.json is damaged, .* save the checkpoint again, or download"):
        OneGenForCausalLM.from_pretrained(saved)


def test_the_folder_of_a_training_that_was_not_saved(saved: Path) -> None:
    for step in (2, 10):
        shutil.copytree(saved, saved.parent / "run" / f"checkpoint-{step}")
    with pytest.raises(FileNotFoundError, match=r"run has no config.json: load .*run.checkpoint-10, or save the"):
        OneGenForCausalLM.from_pretrained(saved.parent / "run")


def test_a_damaged_generation_config_is_not_ignored(saved: Path) -> None:
    (saved / "generation_config.json").write_text("{")
    with pytest.raises(ValueError, match=r"generation_config.json is damaged \(.*\): save the checkpoint again"):
        OneGenForCausalLM.from_pretrained(saved)


@pytest.mark.parametrize("length", [0, 9, 100])
def test_damaged_weights(length: int, saved: Path, tokenizer: Any) -> None:
    path = saved / "model.safetensors"
    path.write_bytes(path.read_bytes()[:length])
    message = r"the weights \(\*.safetensors\) are damaged .* save the checkpoint again, or download it"
    for load in (OneGenForCausalLM.from_pretrained, lambda name: OneGenForCausalLM.from_backbone(name, tokenizer)):
        with pytest.raises(ValueError, match=message):
            load(str(saved))
    # `pipeline` would try other classes after a ValueError.
    with pytest.raises(LoadingError, match=message):
        pipeline("onegen-rag", model=str(saved))


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
def test_a_damaged_tokenizer(name: str, saved: Path) -> None:
    (saved / name).write_text("{")
    with pytest.raises(ValueError, match=r"tokenizer.json or tokenizer_config.json is damaged .* save the checkpoint"):
        load_tokenizer(saved)


def test_a_pipeline_does_not_take_another_dtype(saved: Path) -> None:
    with pytest.raises(LoadingError, match="dtype='float99' is no dtype of weights"):
        pipeline("onegen-rag", model=str(saved), dtype="float99")


def test_a_damaged_adapter_config(saved: Path) -> None:
    for content, message in (("{", "is damaged, or not that of an adapter"), ("{}", "")):
        (saved / "adapter_config.json").write_text(content)
        with pytest.raises(ValueError, match=rf"adapter_config.json .*{message}"):
            OneGenForCausalLM.from_pretrained(saved)


def test_a_model_is_not_saved_into_a_file(saved: Path, tokenizer: Any) -> None:
    model = tiny_model(tokenizer)
    for value, message in ((saved / "config.json", "is a file: choose a folder"), ("", "is empty"), (None, "must be")):
        with pytest.raises((OSError, TypeError, ValueError), match=f"save_directory=.*{message}"):
            model.save_pretrained(value)
