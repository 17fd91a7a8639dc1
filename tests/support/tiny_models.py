"""Tiny random decoders of many architectures: made in milliseconds, no files, no network."""

from __future__ import annotations

from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    MixtralConfig,
    Olmo2Config,
    Phi3Config,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Qwen2Config,
    Qwen3Config,
    Qwen3MoeConfig,
)

from onegen_hf import OneGenConfig, OneGenForCausalLM, RetrievalTokens

VOCAB_SIZE = 400
"""Of the base tokenizer in conftest.py, before retrieval tokens are added."""

SIZES: dict[str, Any] = dict(
    hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
    max_position_embeddings=512, bos_token_id=1, eos_token_id=3, pad_token_id=0, initializer_range=0.2,
)  # fmt: skip
_MAKERS: dict[str, Any] = {
    "llama_tied": lambda v: LlamaConfig(vocab_size=v, tie_word_embeddings=True, **SIZES),
    "llama_untied": lambda v: LlamaConfig(vocab_size=v, tie_word_embeddings=False, **SIZES),
    "mistral": lambda v: MistralConfig(vocab_size=v, sliding_window=8, head_dim=8, **SIZES),
    "qwen2": lambda v: Qwen2Config(vocab_size=v, tie_word_embeddings=True, **SIZES),
    "qwen3": lambda v: Qwen3Config(vocab_size=v, tie_word_embeddings=True, head_dim=8, **SIZES),
    "gemma2": lambda v: Gemma2Config(
        vocab_size=v, head_dim=8, query_pre_attn_scalar=8, sliding_window=8, tie_word_embeddings=True, **SIZES
    ),
    "phi3": lambda v: Phi3Config(vocab_size=v, **SIZES),
    "gpt2": lambda v: GPT2Config(
        vocab_size=v, n_embd=32, n_layer=2, n_head=4, n_positions=512, bos_token_id=1, eos_token_id=3, pad_token_id=0,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, initializer_range=0.2,
    ),
    "olmo2": lambda v: Olmo2Config(vocab_size=v, **SIZES),
    "qwen3_moe": lambda v: Qwen3MoeConfig(
        vocab_size=v, head_dim=8, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=24,
        router_aux_loss_coef=0.1, norm_topk_prob=True, **SIZES,
    ),
    "mixtral": lambda v: MixtralConfig(
        vocab_size=v, num_local_experts=4, num_experts_per_tok=2, router_aux_loss_coef=0.1, **SIZES
    ),
}  # fmt: skip

ARCHITECTURES = list(_MAKERS)
"""What parametrized tests run on."""
MIXTURES = ["qwen3_moe", "mixtral"]
"""Those with a router."""


def tiny_config(architecture: str, vocab_size: int = VOCAB_SIZE) -> PreTrainedConfig:
    """A configuration of 2 layers and hidden size 32."""
    return _MAKERS[architecture](vocab_size)


def tiny_backbone(architecture: str = "llama_tied", vocab_size: int = VOCAB_SIZE, seed: int = 0) -> PreTrainedModel:
    """A plain `XForCausalLM` with seeded random weights, in float32 and evaluation mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AutoModelForCausalLM.from_config(tiny_config(architecture, vocab_size)).float().eval()


def quantizable_backbone() -> PreTrainedModel:
    """
    A plain Llama whose layers are as wide as 4-bit ones must be where a processor has AVX-512 with bfloat16: there,
    bitsandbytes packs weights in blocks of 64 inputs and 32 outputs.
    """
    config = tiny_config("llama_tied")
    config.update({"hidden_size": 64, "intermediate_size": 64, "head_dim": 16})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return AutoModelForCausalLM.from_config(config).float().eval()


def tiny_model(
    tokenizer: PreTrainedTokenizerBase,
    architecture: str = "llama_tied",
    tokens: RetrievalTokens | None = None,
    onegen_config: OneGenConfig | None = None,
    seed: int = 0,
) -> Any:
    """A `OneGenForCausalLM` over [`tiny_backbone`]; `tokenizer` receives the tokens that it lacks."""
    backbone = tiny_backbone(architecture, seed=seed)
    return OneGenForCausalLM.from_backbone(backbone, tokenizer, tokens=tokens, onegen_config=onegen_config).eval()
