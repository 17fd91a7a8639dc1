"""The models, tokenizers and indexes that the alternatives share."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from transformers import AutoConfig, AutoModelForCausalLM, BertConfig, BertModel, LlamaConfig

from onegen_hf import OneGenConfig, OneGenForCausalLM, PassageIndex
from onegen_hf.modeling.tokenizers import load_tokenizer
from onegen_hf.pipelines import DEFAULT_CHECKPOINT

from .encoder import Encoder, load_minilm

TINY_PASSAGES = 40
ALIKE: dict[str, Any] = {"hybrid": None, "inserted_sentences": None, "readings": None}
"""All search by embedding and read whole passages; of the built-in checkpoint's own settings only one pass knows."""


@dataclass
class Components:
    """
    What an alternative is made of.

    Args:
        model ([`OneGenForCausalLM`])
        tokenizer (`PreTrainedTokenizerBase`)
        index ([`PassageIndex`]): Of the model's embeddings.
        make_encoder (`Callable`): Makes the pipelines' encoder model; it is not loaded unless a pipeline asks for it.
        truncate_queries (`bool`, *optional*, defaults to `False`): See [`Encoder`].
    """

    model: Any
    tokenizer: Any
    index: PassageIndex
    make_encoder: Callable[[], SentenceTransformer]
    truncate_queries: bool = False

    @cached_property
    def encoder(self) -> Encoder:
        """The pipelines' encoder, with an index of the same passages."""
        return Encoder(self.make_encoder(), list(self.index), self.truncate_queries)


def load_components(dtype: str, device: str, truncate_queries: bool = False) -> Components:
    """The built-in checkpoint, its index, and all-MiniLM-L6-v2; both models in the same dtype."""
    model = OneGenForCausalLM.from_pretrained(DEFAULT_CHECKPOINT, dtype=dtype).to(device).eval()
    model.onegen_config = replace(model.onegen_config, **ALIKE)
    index = PassageIndex.load(DEFAULT_CHECKPOINT / "index")
    return Components(
        model, load_tokenizer(DEFAULT_CHECKPOINT), index, lambda: load_minilm(dtype, device), truncate_queries
    )


def tiny_components(dtype: str, device: str, truncate_queries: bool = False) -> Components:
    """Random models of a few thousand weights over the same tokens: the whole program in a minute, no download."""
    tokenizer = load_tokenizer(DEFAULT_CHECKPOINT)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
        vocabulary = {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}
        config = LlamaConfig(
            **sizes, **vocabulary, max_position_embeddings=8192, eos_token_id=tokenizer.eos_token_id,
            bos_token_id=None, tie_word_embeddings=True, initializer_range=0.2,
        )  # fmt: skip
        backbone = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype))
        bert = BertModel(BertConfig(**sizes, **vocabulary))
    settings = OneGenConfig.of(AutoConfig.from_pretrained(DEFAULT_CHECKPOINT))
    assert settings is not None
    # Without what belongs to the trained weights.
    settings = replace(settings, projection_dim=None, answer_threshold=None, **ALIKE)
    model = OneGenForCausalLM.from_backbone(backbone, tokenizer, onegen_config=settings)
    model = model.to(device).eval()
    passages = list(PassageIndex.load(DEFAULT_CHECKPOINT / "index"))[:TINY_PASSAGES]
    index = PassageIndex.build(model, tokenizer, passages, show_progress=False)

    def make_encoder() -> SentenceTransformer:
        with tempfile.TemporaryDirectory() as directory:
            bert.save_pretrained(directory)
            tokenizer.save_pretrained(directory)
            transformer = Transformer(directory, max_seq_length=256, model_kwargs={"dtype": dtype})
        return SentenceTransformer(modules=[transformer, Pooling(sizes["hidden_size"])], device=device)

    return Components(model, tokenizer, index, make_encoder, truncate_queries)
