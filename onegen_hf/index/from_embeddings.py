"""Embeddings that were computed elsewhere, such as those that the paper's authors published, as an encoded corpus."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from ..checks import shown
from ..data.documents import DocumentStore
from ..data.passages import Passage
from ..modeling.projection import embedding_size
from ..similarity import as_numbers, unit_vectors
from .encode import EncodedCorpus, encode_passages
from .fingerprint import SAME_MODEL_COSINE


def encoded_elsewhere(
    embeddings: torch.Tensor | np.ndarray,
    store: DocumentStore,
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    ids: Sequence[str] | None,
    num_checked: int,
) -> EncodedCorpus:
    """
    Put embeddings of a corpus in its order, and embed a few passages again to see that the model made them.

    See [`PassageIndex.from_embeddings`] for the arguments and the errors.
    """
    counts = embeddings_per_passage(store, model.onegen_config.granularity)
    vectors = _checked_vectors(embeddings, int(counts.sum()), len(store), model)
    if ids is not None:
        vectors = vectors[_order(ids, store, counts)]
    owners = np.repeat(np.arange(len(store)), counts)
    starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
    sample = np.unique(np.linspace(0, len(store) - 1, num=min(num_checked, len(store)), dtype=np.int64))
    for number in sample if num_checked else ():
        again = encode_passages(model, tokenizer, [store[int(number)]], show_progress=False).embeddings
        cosine = float((again * vectors[starts[number] : starts[number + 1]]).sum(axis=1).min())
        if not cosine >= SAME_MODEL_COSINE:
            raise ValueError(
                f"embeddings: the model embeds passage {number} (id {store.ids[number]!r}) in another way (cosine "
                f"{cosine:.3f}, below {SAME_MODEL_COSINE}). Give the model that made them, the passages in their "
                "order or `ids`, and the same templates (`preset=`); or build the index with `PassageIndex.build`."
            )
    return EncodedCorpus(vectors, owners, np.arange(len(owners)) - starts[owners], truncated=0)


def embeddings_per_passage(store: Sequence[Passage], granularity: str) -> np.ndarray:
    """
    How many embeddings each passage has.

    Args:
        store (`Sequence[Passage]`)
        granularity (`str`): `"passage"` or `"sentence"`.

    Returns:
        `np.ndarray` of shape `(n_passages,)`, int64
    """
    if granularity == "passage":
        return np.ones(len(store), np.int64)
    return np.asarray([max(len(passage.sentences), 1) for passage in store], np.int64)


def _checked_vectors(embeddings: torch.Tensor | np.ndarray, count: int, num_passages: int, model: Any) -> np.ndarray:
    hidden = embedding_size(model)
    vectors = as_numbers(embeddings, f"(n_embeddings, {hidden})")  # (count, hidden)
    if vectors.ndim != 2:
        raise ValueError(f"embeddings has shape {tuple(vectors.shape)}, expected (n_embeddings, {hidden})")
    if vectors.shape[1] != hidden:
        raise ValueError(
            f"embeddings has dimension {vectors.shape[1]} and the model {hidden}: give the model that made them"
        )
    if len(vectors) != count:
        raise ValueError(
            f"embeddings has {len(vectors)} rows, but the {num_passages} passages have {count} embeddings with "
            f"granularity={model.onegen_config.granularity!r}: give the very corpus that was embedded"
        )
    return unit_vectors(vectors, "embeddings").cpu().numpy()


def _order(ids: Sequence[str], store: DocumentStore, counts: np.ndarray) -> np.ndarray:
    """For each embedding in the order of the corpus, the row that it stands in."""
    if isinstance(ids, (str, bytes)) or not hasattr(ids, "__len__") or not hasattr(ids, "__iter__"):
        raise TypeError(f"ids={shown(ids)} must be a list of ids, got {type(ids).__name__}")
    if len(ids) != int(counts.sum()):
        raise ValueError(f"ids has {len(ids)} entries for {int(counts.sum())} embeddings: give one for each")
    starts = np.cumsum(counts) - counts
    order = np.full(len(ids), -1, np.int64)
    for row, identifier in enumerate(map(str, ids)):
        try:
            number, sentence = store.resolve(identifier)
        except ValueError as error:
            raise ValueError(f"ids: entry {row}, {shown(identifier)}, names none of the passages") from error
        place = int(starts[number]) + (sentence or 0)
        if order[place] >= 0:
            raise ValueError(f"ids: entries {int(order[place])} and {row} both name {shown(identifier)}")
        order[place] = row
    return order
