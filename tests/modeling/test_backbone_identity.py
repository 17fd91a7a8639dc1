"""What transformers decides by a class's module or name comes out for a joined class as for its backbone."""

from __future__ import annotations

import copy
import inspect
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file
from support.tiny_models import ARCHITECTURES, VOCAB_SIZE, tiny_backbone, tiny_model
from transformers import AutoModelForCausalLM, FalconH1Config, GPTNeoXConfig, PreTrainedModel

from onegen_hf import OneGenForCausalLM
from onegen_hf.modeling.auto import backbone_class_of, onegen_class_for

SMALL: dict[str, Any] = dict(
    vocab_size=VOCAB_SIZE, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
    max_position_embeddings=512, bos_token_id=1, eos_token_id=3, pad_token_id=0,
)  # fmt: skip
CONFIGS: dict[str, Any] = {
    # Its decoder fills buffers of its children, which have no parameters of their own.
    "falcon_h1": lambda: FalconH1Config(
        head_dim=8, num_key_value_heads=2, mamba_d_ssm=32, mamba_n_heads=4, mamba_d_head=8, mamba_d_state=8,
        mamba_n_groups=1, mamba_chunk_size=16, **SMALL,
    ),
    # transformers stores its head under another name than the module's, which it looks up by the name of the class.
    "gpt_neox": lambda: GPTNeoXConfig(**SMALL),
}  # fmt: skip


def backbone_of(architecture: str) -> PreTrainedModel:
    if architecture not in CONFIGS:
        return tiny_backbone(architecture)
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(CONFIGS[architecture]()).float().eval()


def tensors(model: Any) -> dict[str, torch.Tensor]:
    """Parameters and all buffers, those that are not saved too."""
    return dict([*model.named_parameters(), *model.named_buffers()])


def assert_equal(found: Any, expected: Any) -> None:
    assert tensors(found).keys() == tensors(expected).keys()
    different = [name for name, value in tensors(expected).items() if not torch.equal(tensors(found)[name], value)]
    assert not different


@pytest.mark.parametrize("architecture", [*ARCHITECTURES, *CONFIGS])
def test_every_parameter_and_buffer_comes_back(architecture: str, base_tokenizer: Any, tmp_path: Path) -> None:
    plain = backbone_of(architecture)
    plain.save_pretrained(tmp_path / "plain")
    tokenizer = copy.deepcopy(base_tokenizer)
    model, info = onegen_class_for(type(plain)).from_pretrained(tmp_path / "plain", output_loading_info=True)
    assert not any(info.values()), info
    assert_equal(model, plain)

    model = OneGenForCausalLM.from_backbone(plain, tokenizer)
    model.save_pretrained(tmp_path / "ours")
    for loader in (OneGenForCausalLM, AutoModelForCausalLM):
        again, info = loader.from_pretrained(tmp_path / "ours", output_loading_info=True)
        assert not any(info.values()), info
        assert_equal(again, model)


@pytest.mark.parametrize("architecture", [*ARCHITECTURES, *CONFIGS])
def test_a_checkpoint_holds_the_names_of_the_backbones(architecture: str, base_tokenizer: Any, tmp_path: Path) -> None:
    plain = backbone_of(architecture)
    plain.save_pretrained(tmp_path / "plain")
    OneGenForCausalLM.from_backbone(plain, copy.deepcopy(base_tokenizer)).save_pretrained(tmp_path / "ours")
    names = [set(load_file(tmp_path / name / "model.safetensors")) for name in ("plain", "ours")]
    assert names[0] == names[1]


@pytest.mark.parametrize("architecture", ["llama_tied", "qwen3_moe", "gpt2"])
def test_implementations_can_be_chosen_as_for_the_backbone(architecture: str, base_tokenizer: Any) -> None:
    joined = type(tiny_model(copy.deepcopy(base_tokenizer), architecture))
    backbone = backbone_class_of(joined)
    assert joined.is_custom_code() is backbone.is_custom_code() is False
    assert joined._can_set_attn_implementation() == backbone._can_set_attn_implementation()
    assert joined._can_set_experts_implementation() == backbone._can_set_experts_implementation()


def test_a_backbone_of_strangers_stays_custom_code() -> None:
    class StrangersForCausalLM(transformers.LlamaForCausalLM):
        """Defined outside of transformers."""

    assert onegen_class_for(StrangersForCausalLM).is_custom_code() is True


def test_every_use_of_the_module_of_a_class_is_known() -> None:
    """A new transformers that reads `cls.__module__` elsewhere has to be answered in `OneGenForCausalLM`."""
    users = {
        name
        for name, member in inspect.getmembers(PreTrainedModel)
        if callable(member) and hasattr(member, "__code__") and "cls.__module__" in inspect.getsource(member)
    }
    assert users <= {"is_custom_code", "_can_set_attn_implementation", "_can_set_experts_implementation"}
