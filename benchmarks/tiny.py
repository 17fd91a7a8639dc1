"""Random models and a made-up corpus, with which a program runs within a minute."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from transformers import BertConfig, BertModel, LlamaConfig, LlamaForCausalLM, PreTrainedModel

from data_builders.facts.builder import write_facts
from onegen_hf.modeling.tokenizers import load_tokenizer
from onegen_hf.pipelines import DEFAULT_CHECKPOINT

WIDTH = 32


def tiny_repository(directory: Path) -> str:
    """The fact corpus with few questions, as a dataset repository."""
    path = directory / "facts"
    if not path.is_dir():
        write_facts(path, train_size=100, dev_size=40)
    return str(path)


def tiny_backbone(directory: Path, tied: bool = True, heads: int = 2) -> str:
    """A Llama of width 32 with the tokenizer of the built-in checkpoint; a tied head repeats the last token."""

    def make(**sizes: Any) -> PreTrainedModel:
        sizes["num_attention_heads"] = heads
        return LlamaForCausalLM(LlamaConfig(**sizes, bos_token_id=None, tie_word_embeddings=tied))

    return _saved(directory / "backbone", make)


def tiny_encoder(directory: Path) -> SentenceTransformer:
    """A random sentence encoder with the same tokenizer."""
    path = _saved(directory / "encoder", lambda **sizes: BertModel(BertConfig(**sizes)))
    return SentenceTransformer(modules=[Transformer(path, max_seq_length=256), Pooling(WIDTH)], device="cpu")


def _saved(path: Path, make: Callable[..., PreTrainedModel]) -> str:
    """Save a random model with the tokenizer, and return the folder."""
    tokenizer = load_tokenizer(DEFAULT_CHECKPOINT)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        make(
            vocab_size=len(tokenizer), hidden_size=WIDTH, intermediate_size=2 * WIDTH, num_hidden_layers=2,
            num_attention_heads=2, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
        ).save_pretrained(path)  # fmt: skip
    tokenizer.save_pretrained(path)
    return str(path)
