"""Random models of real shapes, made on the device; the tokenizer is that of a bundled checkpoint, or made up."""

from __future__ import annotations

import copy
from functools import lru_cache
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

from onegen_hf import OneGenForCausalLM, RetrievalTokens
from onegen_hf.bundled.checkpoints import DEFAULT_CHECKPOINT, DEFAULT_LINKER
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


@lru_cache
def _tokenizer() -> Any:
    for source in (DEFAULT_CHECKPOINT, DEFAULT_LINKER):
        try:
            return load_tokenizer(source)
        except Exception as error:  # anything may be wrong with a file that is missing or half there
            print(f"no tokenizer from {source}: {type(error).__name__}: {error}", flush=True)
    return made_up_tokenizer()


def tokenizer() -> Any:
    """A tokenizer with the retrieval tokens: that of a bundled checkpoint, else one of made-up words."""
    return copy.deepcopy(_tokenizer())


def made_up_tokenizer(size: int = 49152) -> Any:
    """Words `w5`, `w6`, ... by whitespace; other words are unknown to it."""
    special = ["<pad>", "<bos>", "<eos>", "<unk>", "w4"]
    words = Tokenizer(WordLevel({word: n for n, word in enumerate([*special, *(f"w{n}" for n in range(5, size))])},
                                unk_token="<unk>"))  # fmt: skip
    words.pre_tokenizer = Whitespace()
    made = PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>", unk_token="<unk>"
    )
    RetrievalTokens.multi_hop().add_to(made)
    return made


def plain_model(shape: str, device: str, dtype: torch.dtype, words: Any = None) -> Any:
    """A Llama of one of [`SHAPES`] with random weights, as transformers has it."""
    words = words or tokenizer()
    config = LlamaConfig(
        vocab_size=len(words), max_position_embeddings=8192, bos_token_id=None, eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id, **SHAPES[shape],
    )  # fmt: skip
    torch.manual_seed(0)
    with torch.device(device):
        return AutoModelForCausalLM.from_config(config, dtype=dtype).to(device)


def joint_model(shape: str, device: str, dtype: torch.dtype, words: Any = None) -> Any:
    """The same as a [`OneGenForCausalLM`], for a tokenizer or that of [`tokenizer`]."""
    words = words or tokenizer()
    return OneGenForCausalLM.from_backbone(plain_model(shape, device, dtype, words), words)
