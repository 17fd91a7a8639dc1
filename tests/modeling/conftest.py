"""Models of every architecture beside the plain backbone with the same weights."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import pytest
from support.sample_corpus import DOCUMENTS, EXAMPLES
from support.tiny_models import ARCHITECTURES, tiny_model

from onegen_hf import OneGenDataCollator, OneGenForCausalLM


def plain_copy(model: Any) -> Any:
    """The backbone's own class with the same weights."""
    backbone = next(c for c in type(model).__mro__ if not issubclass(c, OneGenForCausalLM.__mro__[1]))
    plain = backbone(copy.deepcopy(model.config)).to(model.dtype)
    plain.load_state_dict(model.state_dict())
    return plain.train(model.training)


@pytest.fixture(scope="module")
def make(base_tokenizer: Any) -> Any:
    """architecture → tokenizer, model, plain backbone and a batch; made once."""
    made: dict[str, SimpleNamespace] = {}

    def build(architecture: str) -> SimpleNamespace:
        if architecture not in made:
            tokenizer = copy.deepcopy(base_tokenizer)
            model = tiny_model(tokenizer, architecture)
            batch = OneGenDataCollator(tokenizer, DOCUMENTS)(EXAMPLES[:4])
            made[architecture] = SimpleNamespace(
                tokenizer=tokenizer, model=model, plain=plain_copy(model), batch=batch
            )
        kept = made[architecture]
        model = copy.deepcopy(kept.model)
        return SimpleNamespace(tokenizer=kept.tokenizer, model=model, plain=kept.plain, batch=dict(kept.batch))

    return build


@pytest.fixture(params=ARCHITECTURES)
def tiny(request: Any, make: Any) -> SimpleNamespace:
    return make(request.param)


@pytest.fixture
def llama(make: Any) -> SimpleNamespace:
    return make("llama_tied")
