"""Embedding rows of token ids with a model, in evaluation mode."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from ..checks import instance
from ..data.padding import pad_ids, pad_positions
from .auto import OneGenForCausalLM
from .devices import input_device


def check_encoder(model: Any, tokenizer: PreTrainedTokenizerBase) -> None:
    """
    Raises:
        `TypeError`: If `model` is no [`OneGenForCausalLM`], or `tokenizer` no tokenizer.
        `ValueError`: If `tokenizer` does not fit the model.
    """
    if not isinstance(model, OneGenForCausalLM):
        raise TypeError(
            f"model is a {type(model).__name__}, not a OneGenForCausalLM: load it with "
            "`OneGenForCausalLM.from_pretrained`, or `.from_backbone` for a plain language model. Unwrap a PeftModel "
            "with `model.get_base_model()` and a distributed one with `accelerator.unwrap_model(model)`."
        )
    instance(PreTrainedTokenizerBase)("tokenizer", tokenizer)
    model.check_tokenizer(tokenizer)


@contextmanager
def evaluation_mode(model: torch.nn.Module) -> Iterator[None]:
    """Eval mode inside the block; afterwards every module is in the mode it was in, frozen parts included."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def embed_rows(model: Any, rows: list[list[int]], positions: list[list[int]], pad: int | None = None) -> torch.Tensor:
    """
    The embeddings at the given positions of rows of token ids, run as one batch.

    Args:
        model (`OneGenForCausalLM`)
        rows (`list[list[int]]`): Token ids.
        positions (`list[list[int]]`): Of the retrieval tokens in each row.
        pad (`int`, *optional*): Id of the padding token; any will do, as it is masked.

    Returns:
        `Tensor` of shape `(n_positions, hidden)`, the model's dtype, row by row, not normalised.
    """
    device = input_device(model)
    input_ids, mask = pad_ids(rows, pad)
    where = pad_positions(positions)
    embeddings = model.embed(input_ids.to(device), mask.to(device), where.to(device))
    return embeddings[(where >= 0).to(embeddings.device)]
