"""Tiny random sentence encoders and cross-encoders, saved as sentence-transformers saves them."""

from __future__ import annotations

from pathlib import Path

import torch
from sentence_transformers import CrossEncoder, SentenceTransformer
from transformers import BertConfig, BertForSequenceClassification, BertModel

from support.sample_corpus import build_tokenizer
from support.tiny_models import VOCAB_SIZE

_SIZES = dict(
    vocab_size=VOCAB_SIZE, hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2,
    max_position_embeddings=64, initializer_range=0.5, pad_token_id=0,
)  # fmt: skip


def save_sentence_transformer(directory: Path, seed: int = 0) -> Path:
    """A BERT with mean pooling, of dimension 16."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        BertModel(BertConfig(**_SIZES)).save_pretrained(directory / "backbone")
        build_tokenizer().save_pretrained(directory / "backbone")
        SentenceTransformer(str(directory / "backbone"), device="cpu").save_pretrained(str(directory / "encoder"))
    return directory / "encoder"


def save_cross_encoder(directory: Path, num_labels: int = 1, seed: int = 0) -> Path:
    """A BERT that reads a pair."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = BertConfig(**_SIZES, num_labels=num_labels)
        BertForSequenceClassification(config).save_pretrained(directory / "backbone")
        build_tokenizer().save_pretrained(directory / "backbone")
        CrossEncoder(str(directory / "backbone"), device="cpu").save_pretrained(str(directory / "cross-encoder"))
    return directory / "cross-encoder"
