"""A tiny random model with Self-RAG's reflection tokens, which it writes often enough to be tested."""

from __future__ import annotations

import copy
import random
from typing import Any

import torch

from onegen_hf import OneGenConfig, PassageIndex, RetrievalTokens
from onegen_hf.generation import CritiqueDecoder, TransformersEngine
from onegen_hf.generation.critique import CritiqueRow
from onegen_hf.generation.reflection import ReflectionIds
from support.decoding_setup import Setup
from support.sample_corpus import DOCUMENTS
from support.tiny_models import tiny_model


def reflection_setup(
    base_tokenizer: Any, architecture: str = "llama_untied", seed: int = 0, boost: float = 2.0
) -> tuple[Setup, ReflectionIds]:
    """
    A model whose output rows of the reflection tokens and of the end are `boost` times as long, so that some of them
    often have the highest logit.
    """
    tokenizer = copy.deepcopy(base_tokenizer)
    tokenizer.padding_side = "left"
    config = OneGenConfig(tokens=RetrievalTokens.self_rag(), answer_prefix="")
    model = tiny_model(tokenizer, architecture, onegen_config=config, seed=seed)
    ids = ReflectionIds.of(config.tokens, tokenizer)
    assert ids is not None
    words = [*config.tokens.generation, tokenizer.eos_token]
    with torch.no_grad():
        # New rows start at the mean of their words, so many of them are alike.
        rows = tokenizer.convert_tokens_to_ids(words)
        weight = model.get_output_embeddings().weight
        weight[rows] = (
            boost * torch.randn(len(rows), weight.shape[1], generator=torch.Generator().manual_seed(seed)) / 5
        )
    index = PassageIndex.build(model, tokenizer, DOCUMENTS, show_progress=False)
    return Setup(model, tokenizer, index), ids


def random_prompts(seed: int, number: int) -> list[list[int]]:
    """Prompts of 2 to 11 ordinary tokens."""
    generator = random.Random(seed)
    return [[generator.randrange(4, 400) for _ in range(generator.randrange(2, 12))] for _ in range(number)]


def criticise(
    setup: Setup, prompts: list[list[int]], max_new_tokens: int = 14, critique: Any = None, **options: Any
) -> list[CritiqueRow]:
    """Greedy decoding with critique; five passages by default."""
    decoder = CritiqueDecoder(
        setup.index, setup.tokenizer, setup.model.onegen_config, critique=critique, **{"k": 5, **options}
    )
    rows: Any = TransformersEngine(setup.model, setup.tokenizer).answer(
        prompts, decoder, max_new_tokens=max_new_tokens, do_sample=False
    )
    return list(rows)
