"""One set of engines for all tests of stores."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.index_places import IndexPlace
from support.store_engines import PACKAGES, Engines, engines, require_engine

from onegen_hf.index.backends import BACKENDS


@pytest.fixture(scope="session")
def all_engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engines]:
    with engines(tmp_path_factory.mktemp("engines")) as made:
        yield made


@pytest.fixture(params=sorted(PACKAGES))
def engine(request: pytest.FixtureRequest) -> str:
    require_engine(request.param)
    return str(request.param)


@pytest.fixture
def url(engine: str, all_engines: Engines) -> str:
    return all_engines.url(engine)


@pytest.fixture(params=[*sorted(BACKENDS), *sorted(PACKAGES)])
def place(request: pytest.FixtureRequest, all_engines: Engines, tmp_path: Path) -> Iterator[IndexPlace]:
    """Where an index can be: a directory, searched with each backend, and a collection of each database."""
    name = str(request.param)
    if name in BACKENDS:
        made = IndexPlace(name, str(tmp_path / "index"))
    else:
        require_engine(name)
        made = IndexPlace(name, all_engines.url(name))
    yield made
    made.close()
