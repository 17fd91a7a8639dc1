"""Fixtures of all tests of the index."""

from __future__ import annotations

from typing import Any

import pytest
from support.index_fixtures import make_model, make_tokenizer


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    """Byte-level BPE with the retrieval tokens; shared, so not to be changed."""
    return make_tokenizer()


@pytest.fixture
def model(tokenizer: Any) -> Any:
    """A tiny Llama of one's own: made in milliseconds."""
    return make_model(tokenizer)
