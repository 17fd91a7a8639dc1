"""Random models for the alternatives to one pass."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from transformers import BertConfig, BertModel

from benchmarks.alternatives import Components
from onegen_hf import PassageIndex
from support.sample_corpus import DOCUMENTS
from support.tiny_models import tiny_model

WINDOW = 16
"""Tokens that the encoder reads at a time."""


def make_components(base_tokenizer: Any, path: Path) -> Components:
    """A random model that asks now and then, and a random encoder, which is saved under `path`."""
    tokenizer = copy.deepcopy(base_tokenizer)
    model = tiny_model(tokenizer)
    query_token = tokenizer.convert_tokens_to_ids("[RQ]")
    model.generation_config.sequence_bias = [[[query_token], 3.0], [[tokenizer.eos_token_id], 2.0]]
    index = PassageIndex.build(model, tokenizer, DOCUMENTS, show_progress=False)
    torch.manual_seed(0)
    BertModel(
        BertConfig(
            vocab_size=len(tokenizer), hidden_size=32, intermediate_size=32, num_hidden_layers=1,
            num_attention_heads=2, initializer_range=0.5,
        )
    ).save_pretrained(path)  # fmt: skip
    tokenizer.save_pretrained(path)

    def make_encoder() -> SentenceTransformer:
        return SentenceTransformer(modules=[Transformer(str(path), max_seq_length=WINDOW), Pooling(32)], device="cpu")

    return Components(model, tokenizer, index, make_encoder)
