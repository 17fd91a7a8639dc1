"""Random models of real shapes, made on the device; only the tokenizer comes from the bundled checkpoint."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from onegen_hf import OneGenForCausalLM
from onegen_hf.bundled.checkpoints import DEFAULT_CHECKPOINT
from onegen_hf.modeling.tokenizers import load_tokenizer

SHAPES: dict[str, dict[str, Any]] = {
    "135M": dict(hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9,
                 num_key_value_heads=3, tie_word_embeddings=True),
    "1B": dict(hidden_size=2048, intermediate_size=8192, num_hidden_layers=16, num_attention_heads=32,
               num_key_value_heads=8, tie_word_embeddings=True),
    "tiny": dict(hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
                 num_key_value_heads=2, tie_word_embeddings=True),
}  # fmt: skip
"""Those of SmolLM2-135M, of Llama 3.2 1B, and one to try the programs with."""


def tokenizer() -> Any:
    """The tokenizer of the bundled checkpoint, which holds the retrieval tokens."""
    return load_tokenizer(DEFAULT_CHECKPOINT)


def plain_model(shape: str, device: str, dtype: torch.dtype) -> Any:
    """A Llama of one of [`SHAPES`] with random weights, as transformers has it."""
    words = tokenizer()
    config = LlamaConfig(
        vocab_size=len(words), max_position_embeddings=8192, bos_token_id=None, eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id, **SHAPES[shape],
    )  # fmt: skip
    torch.manual_seed(0)
    with torch.device(device):
        return AutoModelForCausalLM.from_config(config, dtype=dtype).to(device)


def joint_model(shape: str, device: str, dtype: torch.dtype) -> Any:
    """The same as a [`OneGenForCausalLM`]."""
    return OneGenForCausalLM.from_backbone(plain_model(shape, device, dtype), tokenizer())
