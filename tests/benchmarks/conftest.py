"""Fixtures of the benchmarks' tests."""

from __future__ import annotations

from typing import Any

import pytest
from support.alternatives_setup import make_components

from benchmarks.alternatives import Components


@pytest.fixture(scope="session")
def components(base_tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Components:
    """Tiny models of all alternatives; made once, so not to be changed."""
    return make_components(base_tokenizer, tmp_path_factory.mktemp("encoder"))
