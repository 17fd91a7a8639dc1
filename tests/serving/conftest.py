"""A tiny pipeline that asks for passages by itself."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
from support.serving_setup import asking_pipeline, scheduler_for

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
