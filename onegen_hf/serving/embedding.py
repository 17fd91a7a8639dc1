"""`Embedder`: texts to embeddings, as queries or as passages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from ..checks import checked, choice, list_of, text
from ..sentence_transformer.module import OneGenModule

ROLES = ("query", "passage")
MOST_TEXTS = 256
BATCH_SIZE = 16


def _texts(name: str, value: Any) -> list[str]:
    texts = list_of(text())(name, value)
    if len(texts) > MOST_TEXTS:
        raise ValueError(f"{name} holds {len(texts)} texts: give at most {MOST_TEXTS} at a time")
    return texts


class Embedder:
    """
    Embeds texts as an index and decoding do (see [`as_sentence_transformer`]).

    Args:
        model ([`OneGenForCausalLM`])
        tokenizer (`PreTrainedTokenizerBase`)
    """

    def __init__(self, model: Any, tokenizer: PreTrainedTokenizerBase) -> None:
        self._module = OneGenModule(model, tokenizer).eval()

    @property
    def dimension(self) -> int:
        """Of the embeddings."""
        return self._module.get_embedding_dimension()

    @checked(texts=_texts, role=choice(ROLES))
    def embed(self, texts: Sequence[str], role: str = "passage") -> tuple[list[list[float]], int]:
        """
        Args:
            texts (`Sequence[str]`)
            role (`str`, *optional*, defaults to `"passage"`): `"query"` or `"passage"`.

        Returns:
            `tuple[list[list[float]], int]`: Unit vectors, and the number of tokens that went through the model.
        """
        vectors: list[list[float]] = []
        tokens = 0
        with torch.inference_mode():
            for start in range(0, len(texts), BATCH_SIZE):
                features = self._module.preprocess(texts[start : start + BATCH_SIZE], task=role)
                tokens += int(features["attention_mask"].sum())
                placed = {name: tensor.to(self._module.model.device) for name, tensor in features.items()}
                vectors += self._module(placed)["sentence_embedding"].tolist()
        return vectors, tokens
