"""Searching an index by text: which model embeds the text, and how."""

from __future__ import annotations

import logging
import weakref
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from ..configuration import OneGenConfig
from ..data.prompts import query_ids
from ..hub.layout import index_directory
from ..modeling.auto import OneGenForCausalLM
from ..modeling.embed import embed_rows, evaluation_mode
from ..modeling.positions import context_length
from ..modeling.tokenizers import load_tokenizer

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
    if model_id is not None and "/" in model_id:  # a name without a slash is that of a directory, wherever it was
        logger.info("searching with the model %s, which made the index", model_id)
        return (
            OneGenForCausalLM.from_pretrained(model_id, revision=revision),
            load_tokenizer(model_id, revision=revision),
        )
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
