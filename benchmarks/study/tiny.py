"""A random model and a made-up corpus, with which a study runs within a minute."""

from __future__ import annotations

from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from transformers import BertConfig, BertModel, LlamaConfig, LlamaForCausalLM

from data_builders.facts.builder import write_facts
from onegen_hf.auto import load_tokenizer
from onegen_hf.pipelines import DEFAULT_CHECKPOINT


def tiny_repository(directory: Path) -> str:
    """The fact corpus with few questions, as a dataset repository."""
    path = directory / "facts"
    if not path.is_dir():
        write_facts(path, train_size=100, dev_size=40)
    return str(path)


def tiny_backbone(directory: Path) -> str:
    """A Llama of some thousand weights with the tokenizer of the checkpoint that comes along."""
    path = directory / "backbone"
    tokenizer = load_tokenizer(DEFAULT_CHECKPOINT)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
            num_attention_heads=2, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
            bos_token_id=None, tie_word_embeddings=True,
        )  # fmt: skip
        LlamaForCausalLM(config).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return str(path)


def tiny_encoder(directory: Path) -> SentenceTransformer:
    """A random sentence encoder with the same tokenizer."""
    path = directory / "encoder"
    tokenizer = load_tokenizer(DEFAULT_CHECKPOINT)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
        BertModel(BertConfig(vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id, **sizes)).save_pretrained(
            path
        )
    tokenizer.save_pretrained(path)
    return SentenceTransformer(modules=[Transformer(str(path), max_seq_length=256), Pooling(32)], device="cpu")
