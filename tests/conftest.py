"""Fixtures of all tests: a tokenizer, a tiny model, a corpus and examples, all made here, without network."""

from __future__ import annotations

import copy
import gc
import os
from collections.abc import Callable

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["OMP_NUM_THREADS"] = "1"  # tiny tensors: threads only cost, and FAISS has its own

from typing import Any

import pytest
import torch
from support.decoding_setup import Setup
from support.sample_corpus import DOCUMENTS, EXAMPLES, build_tokenizer
from support.tiny_models import tiny_model
from tokenizers import processors
from transformers import PreTrainedTokenizerBase

from onegen_hf import PassageIndex, RetrievalTokens

torch.set_num_threads(1)


def pytest_collection_finish() -> None:
    """Let the garbage collector, which accelerate runs in each training, pass over all that was imported."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def base_tokenizer() -> PreTrainedTokenizerBase:
    """Without retrieval tokens; shared, so not to be changed."""
    return build_tokenizer()


@pytest.fixture
def fresh_tokenizer(base_tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """Without retrieval tokens; a copy to add some to."""
    return copy.deepcopy(base_tokenizer)


@pytest.fixture
def tokenizer(fresh_tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """ChatML, with the tokens of `RetrievalTokens.multi_hop()`."""
    RetrievalTokens.multi_hop().add_to(fresh_tokenizer)
    return fresh_tokenizer


@pytest.fixture
def plain_tokenizer(base_tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """No chat template, and `<|bos|>` in front of every text (as Llama 2); with the retrieval tokens."""
    plain = copy.deepcopy(base_tokenizer)
    plain.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<|bos|> $A", special_tokens=[("<|bos|>", plain.bos_token_id)]
    )
    plain.chat_template = None
    RetrievalTokens.multi_hop().add_to(plain)
    return plain


@pytest.fixture
def model(tokenizer: PreTrainedTokenizerBase) -> Any:
    """A tiny tied OneGen Llama, float32, evaluation mode, seeded."""
    return tiny_model(tokenizer)


@pytest.fixture
def documents() -> list[dict[str, Any]]:
    """Rows of the `documents` configuration."""
    return copy.deepcopy(DOCUMENTS)


@pytest.fixture
def examples() -> list[dict[str, Any]]:
    """Rows of the `examples` configuration, one with an empty list of positives, two that share one."""
    return copy.deepcopy(EXAMPLES)


@pytest.fixture(scope="session")
def setup_for(base_tokenizer: PreTrainedTokenizerBase) -> Callable[[str], Setup]:
    """architecture → a tiny model with its tokenizer and index; made once, so not to be changed."""
    made: dict[str, Setup] = {}

    def build(architecture: str) -> Setup:
        if architecture not in made:
            tokenizer = copy.deepcopy(base_tokenizer)
            tokenizer.padding_side = "left"
            model = tiny_model(tokenizer, architecture)
            index = PassageIndex.build(model, tokenizer, DOCUMENTS, show_progress=False)
            made[architecture] = Setup(model, tokenizer, index)
        return made[architecture]

    return build


@pytest.fixture(scope="session")
def llama(setup_for: Callable[[str], Setup]) -> Setup:
    """The plainest of them."""
    return setup_for("llama_tied")
