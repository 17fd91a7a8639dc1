"""The model of an index: whether another one may search it, and how it embeds a text."""

from __future__ import annotations

import logging
import warnings
import weakref
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from ..bundled.checkpoints import BUILTIN, builtin_path
from ..configuration import OneGenConfig
from ..data.prompts import query_ids
from ..hub.layout import index_directory
from ..modeling.auto import OneGenForCausalLM
from ..modeling.embed import embed_rows, evaluation_mode
from ..modeling.int8 import is_quantized_for_cpu
from ..modeling.positions import context_length
from ..modeling.tokenizers import load_tokenizer
from .fingerprint import INT8_MODEL_COSINE, SAME_MODEL_COSINE, ModelFingerprint

logger = logging.getLogger(__name__)

Encoder = tuple[Any, PreTrainedTokenizerBase]
"""A model with its tokenizer."""


class EncoderReference:
    """
    The model that an index was built or checked with. It does not keep the model in memory: deleting a model frees its
    memory, also while its index is in use.

    Args:
        model ([`OneGenForCausalLM`])
        tokenizer (`PreTrainedTokenizerBase`)
    """

    def __init__(self, model: Any, tokenizer: PreTrainedTokenizerBase) -> None:
        self._model = weakref.ref(model)
        self._tokenizer = tokenizer

    def get(self) -> Encoder | None:
        """The model and its tokenizer; `None` if the model is gone."""
        model = self._model()
        return None if model is None else (model, self._tokenizer)


class IndexModel:
    """
    The model that made an index, and whoever may stand in for it.

    Args:
        fingerprint ([`ModelFingerprint`])
        model_id (`str`, *optional*): Its name.
        revision (`str`, *optional*)
    """

    def __init__(self, fingerprint: ModelFingerprint, model_id: str | None, revision: str | None) -> None:
        self.fingerprint, self.model_id, self.revision = fingerprint, model_id, revision
        self._reference: EncoderReference | None = None
        self._loaded: Encoder | None = None  # keeps a model that was loaded here

    def remember(self, model: Any, tokenizer: PreTrainedTokenizerBase) -> None:
        """Embed texts with this model from now on, without keeping it in memory."""
        self._reference = EncoderReference(model, tokenizer)

    def check(self, model: Any, tokenizer: PreTrainedTokenizerBase) -> None:
        """See [`PassageIndex.check_model`]."""
        fingerprint = ModelFingerprint.of(model, tokenizer)
        least_cosine = INT8_MODEL_COSINE if is_quantized_for_cpu(model) else SAME_MODEL_COSINE
        difference = self.fingerprint.difference(fingerprint, least_cosine)
        if difference is None:
            self.remember(model, tokenizer)
            return
        if model.approximate_base and dict(fingerprint.facts) == dict(self.fingerprint.facts):
            warnings.warn(
                f"the adapter's base has weights close to, but not, those of the index ({difference}): retrieval is "
                "less exact. Install the base that the adapter was trained on, or build the index again.",
                UserWarning,
                stacklevel=3,
            )
            self.remember(model, tokenizer)
            return
        made_by = (
            f" ({self.model_id}{f', revision {self.revision}' if self.revision else ''})" if self.model_id else ""
        )
        raise ValueError(
            f"the index was made by another model{made_by} than the one that is to search it. Index against "
            f"model: {difference}. Load the model of the index, or build the index again."
        )

    def encoder(self, directory: Path | None) -> Encoder:
        """
        The model to embed a text with: the one last remembered, else loaded and checked.

        Args:
            directory (`Path`, *optional*): Of the index.

        Raises:
            `ValueError`: If nothing says where the model is, or it did not make the index.
        """
        encoder = None if self._reference is None else self._reference.get()
        if encoder is None:
            encoder = load_encoder(directory, self.model_id, self.revision)
            self.check(*encoder)
            self._loaded = encoder
        return encoder


def load_encoder(directory: Path | None, model_id: str | None, revision: str | None) -> Encoder:
    """
    Load the model of an index: that of the checkpoint that the index lies in, or the repository that it names.

    Args:
        directory (`Path`, *optional*): Of the index.
        model_id (`str`, *optional*): As the index names its model.
        revision (`str`, *optional*)

    Raises:
        `ValueError`: If the index tells neither.
    """
    checkpoint = None if directory is None else index_directory(directory).parent
    if checkpoint is not None and (checkpoint / "config.json").is_file() and any(checkpoint.glob("*.safetensors")):
        logger.info("searching with the model of the checkpoint %s", checkpoint)
        return OneGenForCausalLM.from_pretrained(checkpoint), load_tokenizer(checkpoint)
    # Other names without a slash are those of directories, wherever they were.
    if model_id is not None and ("/" in model_id or model_id in BUILTIN):
        logger.info("searching with the model %s, which made the index", model_id)
        name = builtin_path(model_id)
        return OneGenForCausalLM.from_pretrained(name, revision=revision), load_tokenizer(name, revision=revision)
    raise ValueError(
        "the index does not know where its model is, which embeds the text: pass `model=` and `tokenizer=`, or use "
        "`rag.retrieve` of a pipeline"
    )


def embed_query(model: Any, tokenizer: PreTrainedTokenizerBase, query: str) -> torch.Tensor:
    """
    The embedding of a bare query; see [`query_ids`] for what the model reads. An entity linker reads the query as a
    mention.

    Args:
        model ([`OneGenForCausalLM`])
        tokenizer (`PreTrainedTokenizerBase`)
        query (`str`)

    Returns:
        `Tensor` of shape `(1, hidden)`

    Raises:
        `ValueError`: If the query is longer than the model's context.
    """
    config: OneGenConfig = model.onegen_config
    links = config.tokens.continuation is not None
    ids = query_ids(tokenizer, config, query, "<MENTION>{query}</MENTION>" if links else "{query}")
    limit = context_length(model)
    if limit is not None and len(ids) > limit:
        raise ValueError(f"query={query[:60]!r}... takes {len(ids)} tokens, but the model's context holds {limit}")
    with evaluation_mode(model), torch.no_grad():
        return embed_rows(model, [ids], [[len(ids) - 1]], tokenizer.pad_token_id)  # type: ignore[arg-type]
