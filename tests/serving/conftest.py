"""A tiny pipeline that asks for passages by itself."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
from support.http_server import Running, running_server
from support.linking_setup import ENTITIES
from support.serving_setup import asking_pipeline, scheduler_for
from support.tiny_models import tiny_model
from transformers import pipeline

from onegen_hf import PassageIndex, RetrievalTokens
from onegen_hf.serving import Scheduler


@pytest.fixture(scope="session")
def rag(base_tokenizer: Any) -> Any:
    """Shared, so not to be changed."""
    return asking_pipeline(copy.deepcopy(base_tokenizer))


@pytest.fixture
def scheduler(rag: Any) -> Iterator[Scheduler]:
    """Running, with room for five requests."""
    scheduler = scheduler_for(rag, batch_size=5)
    scheduler.start()
    yield scheduler
    scheduler.close()


@pytest.fixture(scope="session")
def linker(base_tokenizer: Any) -> Any:
    """A tiny linking pipeline."""
    tokenizer = copy.deepcopy(base_tokenizer)
    tokenizer.padding_side = "left"
    model = tiny_model(tokenizer, tokens=RetrievalTokens.entity_linking())
    index = PassageIndex.build(model, tokenizer, ENTITIES, show_progress=False)
    return pipeline("onegen-entity-linking", model=model, tokenizer=tokenizer, index=index)


@pytest.fixture(scope="session")
def server(rag: Any, linker: Any) -> Iterator[Running]:
    """Shared; it needs one of `KEYS`."""
    with running_server(rag, linker, batch_size=6, max_client_requests=64) as running:
        yield running
