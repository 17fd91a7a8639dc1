"""An index of embeddings that were computed elsewhere, such as those that the paper's authors published."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from ..data.documents import DocumentStore
from ..modeling.embed import check_encoder
from ..similarity import check_finite, normalize
from .encode import Corpus, EncodedCorpus, as_document_store, encode_passages
from .fingerprint import SAME_MODEL_COSINE, ModelFingerprint
from .model_name import model_name


class FromEmbeddingsMixin:
    """How a [`PassageIndex`] is made of embeddings that are there already, unchecked until now."""

    @classmethod
    def from_encoded(cls, *args: Any, **kwargs: Any) -> Any:
        """See [`PassageIndex.from_encoded`]."""
        raise NotImplementedError

    @classmethod
    def from_embeddings(
        cls,
        embeddings: torch.Tensor | np.ndarray,
        passages: Corpus,
        model: Any,
        tokenizer: PreTrainedTokenizerBase,
        ids: Sequence[str] | None = None,
        factory: str = "Flat",
        num_checked: int = 4,
        model_id: str | None = None,
        revision: str | None = None,
    ) -> Any:
        """
        Make an index of embeddings that were computed elsewhere by the same model.

        A few passages are embedded again to see that it was the same model, and the same way of writing a passage.

        Args:
            embeddings (`Tensor` or `np.ndarray` of shape `(n_embeddings, hidden)`): Any floating dtype; need not be
                normalised. One per passage, or one per sentence if the model's `granularity` is that.
            passages (`Iterable` or `datasets.Dataset`): As for [`~PassageIndex.build`].
            model (`OneGenForCausalLM`): The one that made the embeddings.
            tokenizer (`PreTrainedTokenizerBase`)
            ids (`Sequence[str]`, *optional*): What each embedding belongs to: `doc`, or `doc#sentence` with one per
                sentence. By default they stand in the order of the passages.
            factory (`str`, *optional*, defaults to `"Flat"`): FAISS factory string.
            num_checked (`int`, *optional*, defaults to 4): Passages that are embedded again.
            model_id (`str`, *optional*): Name of the model, stored with the index; by default the repository that it
                was loaded from.
            revision (`str`, *optional*): Its revision, stored with the index; by default the commit.

        Returns:
            [`PassageIndex`]

        Raises:
            `TypeError`: If `model` is no OneGen model.
            `ValueError`: If shape, dimension or number of the embeddings are wrong, one holds NaN, `ids` don't name
                each passage once, or the model embeds a passage in another way.

        Example:

        ```python
        >>> embeddings, ids = read_embeddings("embeddings.safetensors")
        >>> index = PassageIndex.from_embeddings(embeddings, entities, model, tokenizer, ids)
        ```
        """
        check_encoder(model, tokenizer)
        store = as_document_store(passages)
        counts = _embeddings_per_passage(store, model.onegen_config.granularity)
        vectors = _checked(torch.as_tensor(embeddings), int(counts.sum()), len(store), model)
        if ids is not None:
            vectors = vectors[_order(ids, store, counts)]
        owners = np.repeat(np.arange(len(store)), counts)
        starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
        chosen = np.unique(np.linspace(0, len(store) - 1, num=min(num_checked, len(store)), dtype=np.int64))
        for number in chosen if num_checked else ():
            again = encode_passages(model, tokenizer, [store[int(number)]], show_progress=False).embeddings
            cosine = float((again * vectors[starts[number] : starts[number + 1]]).sum(axis=1).min())
            if not cosine >= SAME_MODEL_COSINE:
                raise ValueError(
                    f"embeddings: the model embeds passage {number} (id {store.ids[number]!r}) in another way (cosine "
                    f"{cosine:.3f}, below {SAME_MODEL_COSINE}). Give the model that made them, the passages in their "
                    "order or `ids`, and the same templates (`tokens=`); or build the index with `PassageIndex.build`."
                )
        encoded = EncodedCorpus(vectors, owners, np.arange(len(owners)) - starts[owners], truncated=0)
        fingerprint = ModelFingerprint.of(model, tokenizer)
        return cls.from_encoded(store, encoded, fingerprint, factory, *model_name(model, model_id, revision))


def _embeddings_per_passage(store: DocumentStore, granularity: str) -> np.ndarray:
    if granularity == "passage":
        return np.ones(len(store), np.int64)
    return np.asarray([max(len(passage.sentences), 1) for passage in store], np.int64)


def _checked(embeddings: torch.Tensor, wanted: int, num_passages: int, model: Any) -> np.ndarray:
    hidden = int(model.config.get_text_config().hidden_size)
    if embeddings.ndim != 2:
        raise ValueError(f"embeddings has shape {tuple(embeddings.shape)}, expected (n_embeddings, {hidden})")
    if embeddings.shape[1] != hidden:
        raise ValueError(
            f"embeddings has dimension {embeddings.shape[1]} and the model {hidden}: give the model that made them"
        )
    if len(embeddings) != wanted:
        raise ValueError(
            f"embeddings has {len(embeddings)} rows, but the {num_passages} passages have {wanted} embeddings with "
            f"granularity={model.onegen_config.granularity!r}: give the very corpus that was embedded"
        )
    check_finite(embeddings, "embeddings")
    return normalize(embeddings.detach()).cpu().numpy()


def _order(ids: Sequence[str], store: DocumentStore, counts: np.ndarray) -> np.ndarray:
    """For each embedding in the order of the corpus, the row that it stands in."""
    if len(ids) != int(counts.sum()):
        raise ValueError(f"ids has {len(ids)} entries for {int(counts.sum())} embeddings: give one for each")
    starts = np.cumsum(counts) - counts
    order = np.full(len(ids), -1, np.int64)
    for row, identifier in enumerate(map(str, ids)):
        try:
            number, sentence = store.resolve(identifier)
        except ValueError as error:
            raise ValueError(f"ids: entry {row}, {identifier!r}, names none of the passages") from error
        place = int(starts[number]) + (sentence or 0)
        if order[place] >= 0:
            raise ValueError(f"ids: entries {int(order[place])} and {row} both name {identifier!r}")
        order[place] = row
    return order
