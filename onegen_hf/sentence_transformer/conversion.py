"""`as_sentence_transformer`: wrap a model, or load a checkpoint, for whatever takes a `SentenceTransformer`."""

from __future__ import annotations

import os
from typing import Any

from transformers import PreTrainedTokenizerBase

from ..bundled.checkpoints import builtin_path
from ..modeling.auto import OneGenForCausalLM
from ..modeling.tokenizers import load_tokenizer


def as_sentence_transformer(
    model: Any,
    tokenizer: PreTrainedTokenizerBase | None = None,
    query_template: str | None = None,
    max_query_length: int | None = None,
    **kwargs: Any,
) -> Any:
    """
    Make a `SentenceTransformer` of a OneGen model; the weights are shared, not copied.

    `encode_document` gives the embeddings of [`PassageIndex`]: the passage, then the document token. `encode_query`
    gives what decoding computes where the model asks for a passage. What stands before the query token of a bare query
    is what a single-hop training example has there: the prompt with the query as the user's question, then the query
    once more as the model's own first sub-question:

    ```
    <|im_start|>user
    Who made Tin Boat?<|im_end|>
    <|im_start|>assistant
    Who made Tin Boat?[RQ]
    ```

    Args:
        model (`OneGenForCausalLM`, `str` or path): A loaded model, or a checkpoint to load.
        tokenizer (`PreTrainedTokenizerBase`, *optional*): By default that of the checkpoint.
        query_template (`str`, *optional*): The model's own text in front of the query token, by default what was saved
            with the checkpoint, else `"{query}"`; for entity linking `"<MENTION>{query}</MENTION>"`.
        max_query_length (`int`, *optional*): Tokens of a query, by default what was saved with the checkpoint, else
            256. The rest is cut, with a warning.
        kwargs: Of `SentenceTransformer` (`prompts`, `truncate_dim`, `device`, ...), or of
            [`~OneGenForCausalLM.from_pretrained`] behind `model_kwargs`.

    Returns:
        `SentenceTransformer`: With cosine similarity; embeddings are float32 and of unit length. A document is a text,
        or a mapping `{"title", "text"}`, which is written by the checkpoint's `passage_template`; it has one embedding
        also where the checkpoint's index has one per sentence. `encode` without a task encodes documents. Saved by
        `save_pretrained`, it is loaded by this function, or by `SentenceTransformer(directory,
        trust_remote_code=True)`; the directory stays a OneGen checkpoint.

    Raises:
        `TypeError`: If `model` is neither.
        `ValueError`: If the tokenizer is missing or does not fit, or a setting is out of range.

    Example:

    ```python
    >>> encoder = as_sentence_transformer(model, tokenizer)
    >>> documents = encoder.encode_document(["Tin Boat is a film by Ada Moll.", "Fern Bay is a town."])
    >>> encoder.similarity(encoder.encode_query("Who made Tin Boat?"), documents).shape
    torch.Size([1, 2])
    ```
    """
    from sentence_transformers import SentenceTransformer

    from .module import OneGenModule

    model_kwargs = kwargs.pop("model_kwargs", None) or {}
    settings: dict[str, Any] = {}
    if isinstance(model, (str, os.PathLike)):
        model = builtin_path(model)
        settings = OneGenModule.load_config(os.fspath(model))
        tokenizer = load_tokenizer(model) if tokenizer is None else tokenizer
        model = OneGenForCausalLM.from_pretrained(model, **model_kwargs)
    elif model_kwargs:
        raise ValueError("model_kwargs is for a checkpoint to load, but model is a loaded one: leave it out")
    if tokenizer is None:
        raise ValueError("tokenizer is missing: pass the one that belongs to the model")
    given = {"query_template": query_template, "max_query_length": max_query_length}
    settings |= {name: value for name, value in given.items() if value is not None}
    module = OneGenModule(model, tokenizer, **settings)
    return SentenceTransformer(
        modules=[module], **{"similarity_fn_name": "cosine", "device": str(model.device), **kwargs}
    )
