"""How rows of a backbone may be read is found out by trying, on a tiny twin of it."""

from __future__ import annotations

import copy
import logging
from typing import Any

import pytest
import torch
from support.sample_corpus import build_tokenizer
from support.tiny_models import ARCHITECTURES, SIZES, tiny_model
from transformers import AutoModelForCausalLM, JambaConfig, LlamaConfig, Phi3Config, Qwen2MoeConfig, RwkvConfig

from onegen_hf import OneGenForCausalLM
from onegen_hf.generation.memory import PackedMemory, Reading, SequentialMemory, memory_for, reading_of, self_test
from onegen_hf.modeling.positions import context_length
from onegen_hf.modeling.tiny_twin import WINDOW, tiny_settings, tiny_twin


def model_of(config: Any) -> Any:
    torch.manual_seed(0)
    return OneGenForCausalLM.from_backbone(AutoModelForCausalLM.from_config(config).float(), build_tokenizer()).eval()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_all_of_the_tests_models_are_packed(architecture: str) -> None:
    model = tiny_model(build_tokenizer(), architecture)
    twin = tiny_twin(model)
    assert type(twin) is type(model) and tiny_twin(copy.deepcopy(model)) is twin
    assert isinstance(memory_for(model, [0]), PackedMemory)


def test_a_twin_keeps_the_kinds_of_layers_and_gets_a_small_window() -> None:
    config = tiny_model(build_tokenizer(), "gemma2").config
    settings = tiny_settings(config)
    assert settings["layer_types"] == config.layer_types[: settings["num_hidden_layers"]]
    assert settings["sliding_window"] == WINDOW and len(set(settings["layer_types"])) == len(set(config.layer_types))


def test_making_a_twin_leaves_the_random_state_alone() -> None:
    two_heads = {**SIZES, "num_attention_heads": 2, "num_key_value_heads": 2}
    model = model_of(LlamaConfig(vocab_size=404, **two_heads))
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    assert tiny_twin(model) is not None
    assert torch.equal(torch.rand(3), expected)


def test_recurrent_layers_that_start_each_chunk_afresh_are_read_token_by_token(
    caplog: pytest.LogCaptureFixture,
) -> None:
    config = JambaConfig(
        vocab_size=404, mamba_d_state=4, mamba_dt_rank=4, num_experts=2, num_experts_per_tok=1,
        use_mamba_kernels=False, **{**SIZES, "num_hidden_layers": 8},
    )  # fmt: skip
    model = model_of(config)
    with caplog.at_level(logging.WARNING):
        memory = memory_for(model, [0])
    assert isinstance(memory, SequentialMemory) and not memory.chunks
    assert "is read a token at a time, which is slower (chunks: differs from a plain forward" in caplog.text
    ids = [5, 9, 17, 23, 4, 8]
    with torch.no_grad():
        plain = model(torch.tensor([ids]), use_cache=False).logits[0, -1]
        memory.append([0], [ids[:3]])
        torch.testing.assert_close(memory.append([0], [ids[3:]]).logits[0], plain, rtol=1e-3, atol=1e-4)


def test_a_window_that_stands_in_the_mask_alone_is_kept() -> None:
    config = Qwen2MoeConfig(
        vocab_size=404, use_sliding_window=True, sliding_window=4, max_window_layers=0, moe_intermediate_size=16,
        shared_expert_intermediate_size=16, num_experts=2, num_experts_per_tok=1, **SIZES,
    )  # fmt: skip
    model = model_of(config)
    ids = list(range(5, 25))
    with torch.no_grad():
        plain = model(torch.tensor([ids]), use_cache=False).logits[0, -1]
        memory = memory_for(model, [0])
        memory.append([0], [ids[:-3]])
        torch.testing.assert_close(memory.append([0], [ids[-3:]]).logits[0], plain, rtol=1e-3, atol=1e-4)


def test_what_cannot_be_continued_is_refused_in_one_sentence() -> None:
    model = model_of(RwkvConfig(vocab_size=404, hidden_size=32, num_hidden_layers=2, context_length=64))
    with pytest.raises(ValueError, match="RwkvForCausalLM can't be continued behind its cache.*another backbone"):
        memory_for(model, [0])


def test_without_a_twin_the_model_itself_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(self_test, "tiny_twin", lambda model: None)
    assert reading_of(tiny_model(build_tokenizer(), "llama_tied")) is Reading.PACKED
    # Whether it keeps its window, short rows can't show.
    assert reading_of(tiny_model(build_tokenizer(), "mistral")) is Reading.CHUNKS


def test_rotary_frequencies_that_depend_on_the_length_limit_the_context() -> None:
    rope = {
        "rope_type": "longrope",
        "rope_theta": 10000.0,
        "short_factor": [1.0] * 4,
        "long_factor": [4.0] * 4,
    }
    model = model_of(Phi3Config(vocab_size=404, original_max_position_embeddings=16, rope_parameters=rope, **SIZES))
    assert context_length(model) == 16
    memory = memory_for(model, [0, 1])
    with torch.no_grad():
        memory.append([0, 1], [[5] * 16, [6]])
        with pytest.raises(ValueError, match="a row holds 17 tokens, but the model's context holds 16"):
            memory.append([0], [[7]])
