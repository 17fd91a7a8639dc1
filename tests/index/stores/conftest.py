"""One set of engines for all tests of stores."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from support.index_fixtures import make_tokenizer
from support.store_engines import Engines, engines, require_engine

from onegen_hf.index.stores import STORES


@pytest.fixture(scope="session")
def all_engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engines]:
    with engines(tmp_path_factory.mktemp("engines")) as made:
        yield made


@pytest.fixture(params=sorted(STORES))
def scheme(request: pytest.FixtureRequest) -> str:
    require_engine(request.param)
    return str(request.param)


@pytest.fixture
def url(scheme: str, all_engines: Engines) -> str:
    return all_engines.url(scheme)


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    return make_tokenizer()
