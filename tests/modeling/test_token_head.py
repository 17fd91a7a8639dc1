"""The logits of a few tokens: the same choice as with all logits, where a logit is a product."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from support.sample_corpus import build_tokenizer
from support.tiny_models import tiny_model

from onegen_hf.modeling.int8 import quantize_for_cpu
from onegen_hf.modeling.token_head import TokenHead


@pytest.mark.parametrize("architecture", ["llama_tied", "llama_untied", "gpt2", "qwen3_moe"])
@torch.no_grad()
def test_the_best_of_a_few_tokens(architecture: str) -> None:
    model = tiny_model(build_tokenizer(), architecture).eval()
    ids = torch.tensor([[5, 9, 40, 71, 12]])
    output = model(ids, retrieval_positions=torch.ones_like(ids, dtype=torch.bool))
    states, logits = output.retrieval_embeddings.view(5, -1), output.logits[0]
    allowed = [torch.randperm(300)[:size].tolist() for size in (1, 2, 3, 7, 40)]
    head = TokenHead.of(model)
    assert head is not None
    expected = [max(tokens, key=lambda token: float(row[token])) for row, tokens in zip(logits, allowed, strict=True)]
    assert head.best(states, allowed) == expected


def test_the_first_of_equally_good_tokens() -> None:
    head = TokenHead(torch.ones(9, 4))
    assert head.best(torch.ones(2, 4), [[8, 3, 5], [7]]) == [3, 7]


def test_a_capped_logit_is_no_product() -> None:
    assert TokenHead.of(tiny_model(build_tokenizer(), "gemma2")) is None


@pytest.mark.parametrize(("architecture", "has_rows"), [("llama_tied", True), ("llama_untied", False)])
def test_a_head_in_int8_takes_the_rows_of_the_embeddings(architecture: str, has_rows: bool) -> None:
    model: Any = quantize_for_cpu(copy.deepcopy(tiny_model(build_tokenizer(), architecture)))
    head = TokenHead.of(model)
    assert (head is not None) == has_rows
    if head is not None:
        assert head.weight is model.get_input_embeddings().weight
