"""Initializes the rows of new tokens in the embedding matrix and the head."""

from __future__ import annotations

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ..tokens import RetrievalTokens


@torch.no_grad()
def initialize_token_rows(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tokens: RetrievalTokens, only: list[str] | None = None
) -> list[int]:
    """
    Resize the embedding matrix to the tokenizer and set each retrieval token's row to the mean of its description.

    Rows of tokens that the tokenizer already had keep their trained values. The rows of an untied head are set in the
    same way, from the head's own rows.

    Args:
        model (`PreTrainedModel`): Its embeddings are resized and changed in place.
        tokenizer (`PreTrainedTokenizerBase`): Must already contain the tokens.
        tokens (`RetrievalTokens`): The tokens to initialize.
        only (`list[str]`, *optional*): The tokens to set; by default those outside the tokenizer's base vocabulary.

    Returns:
        `list[int]`: The ids of the rows that were set.
    """
    vocabulary = tokens.known_ids(tokenizer)
    if only is None:
        only = [token for token in tokens.all if vocabulary[token] >= tokenizer.vocab_size]
    if len(tokenizer) > model.get_input_embeddings().weight.shape[0]:
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    inputs = model.get_input_embeddings().weight
    head = model.get_output_embeddings()
    matrices = [inputs] if head is None or head.weight is inputs else [inputs, head.weight]
    for token in only:
        source = tokenizer(tokens.description(token), add_special_tokens=False)["input_ids"]
        for matrix in matrices:
            matrix[vocabulary[token]] = matrix[source].float().mean(dim=0).to(matrix.dtype)
    return [vocabulary[token] for token in only]
