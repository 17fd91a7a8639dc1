"""Whatever stands in the texts and however it is decoded, what comes out aligns with what went in."""

from __future__ import annotations

import copy
import random
from typing import Any

import pytest
import torch
from support.linking_setup import LinkingSetup, linking_setup
from support.linking_texts import random_text

DECODINGS: dict[str, dict[str, Any]] = {
    "greedy": {},
    "sampling": {"do_sample": True, "temperature": 4.0, "top_k": 0},
    "beams": {"num_beams": 3},
    "characters": {"do_sample": True, "temperature": 4.0, "boundaries": "character"},
}


@pytest.fixture(scope="module")
def setup(base_tokenizer: Any) -> LinkingSetup:
    return linking_setup(copy.deepcopy(base_tokenizer))


@torch.no_grad()
def check_batch(setup: LinkingSetup, seed: int, decoding: str) -> int:
    """Decode a random batch; returns the number of mentions."""
    generator = random.Random(seed)
    torch.manual_seed(seed)
    texts = [random_text(generator) for _ in range(generator.randrange(1, 6))]
    rows = setup.generate(texts, **DECODINGS[decoding]).rows
    for row, text in zip(rows, texts, strict=True):
        assert row.aligned
        generated = row.ids[row.usage.prompt_tokens :]
        annotation = setup.markup.annotate(text, row.spans)
        assert generated == [*annotation.ids, setup.tokenizer.eos_token_id]
        assert all(text[a:b] == text[a:b].strip() != "" for a, b in row.spans)
        states = setup.model(input_ids=torch.tensor([row.ids]), output_hidden_states=True).hidden_states[-1][0]
        for embedding, position in zip(row.embeddings, annotation.query_positions, strict=True):
            expected = states[row.usage.prompt_tokens + position]
            torch.testing.assert_close(embedding, expected, atol=1e-4, rtol=1e-4)
    return sum(len(row.spans) for row in rows)


@pytest.mark.parametrize("decoding", DECODINGS)
def test_random_batches(setup: LinkingSetup, decoding: str) -> None:
    assert sum(check_batch(setup, seed, decoding) for seed in range(6)) > 3


@pytest.mark.slow
@pytest.mark.parametrize("decoding", DECODINGS)
def test_many_random_batches(setup: LinkingSetup, decoding: str) -> None:
    assert sum(check_batch(setup, seed, decoding) for seed in range(100, 200)) > 100
