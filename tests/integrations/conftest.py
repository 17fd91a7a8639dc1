"""A tiny pipeline, in memory and saved, for the adapters to other frameworks."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from support.serving_setup import asking_pipeline


def pytest_configure(config: pytest.Config) -> None:
    """The standard tests of LangChain hold coroutines, which pytest-asyncio runs where it is told so."""
    if config.pluginmanager.hasplugin("asyncio"):
        config.option.asyncio_mode = "auto"


@pytest.fixture(scope="session")
def rag(base_tokenizer: Any) -> Any:
    """Shared, so not to be changed."""
    return asking_pipeline(copy.deepcopy(base_tokenizer))


@pytest.fixture(scope="session")
def checkpoint(rag: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Saved with its index."""
    directory = tmp_path_factory.mktemp("checkpoint")
    rag.save_pretrained(directory)
    return directory
