"""Fixtures of the tests that speak to a Hub on the loopback interface."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.loopback import LoopbackHub, running_hub
from support.tiny_models import tiny_model

from onegen_hf import PassageIndex


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    """An empty Hub."""
    with running_hub() as server:
        yield server


@pytest.fixture
def checkpoint(tokenizer: Any, documents: Any, tmp_path: Path) -> Path:
    """A saved model with its tokenizer, and its index beside it."""
    path, model = tmp_path / "checkpoint", tiny_model(tokenizer)
    model.onegen_config.default_index = "./index"
    model.set_onegen_config(model.onegen_config)
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    PassageIndex.build(model, tokenizer, documents, show_progress=False, model_id="org/model").save(path / "index")
    return path
