"""What goes wrong with a database is said at once and by name; nothing hangs, and nothing is half written."""

from __future__ import annotations

import copy
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.decoding_setup import Setup
from support.index_fixtures import HIDDEN
from support.sample_corpus import DOCUMENTS
from support.store_engines import PASSWORD, Engines, MilvusServer, free_port, require_engine, until
from support.store_passages import fill, passages, unit
from transformers import pipeline

from onegen_hf import PassageIndex
from onegen_hf.importing import extras
from onegen_hf.index.stores import StoreError, open_store
from onegen_hf.index.stores.collection import StoredCollection
from onegen_hf.index.stores.opening import open_collection

SECONDS = 20.0
"""Within which an error has to come."""
ROOT = Path(__file__).resolve().parents[3]


@contextmanager
def promptly() -> Iterator[None]:
    start = time.monotonic()
    yield
    assert time.monotonic() - start < SECONDS


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("qdrnt://./folder/films", r"qdrnt:// is no store .*did you mean 'qdrant'"),
        ("qdrant://./folder/two words", "must end with the name of a collection"),
        ("qdrant:///films", "must end with the name of a collection"),
        ("postgresql://u:secret@host/database/1st", r"postgresql://u:\*\*\*@host/database/1st must end"),
        ("qdrant://host:port/films", "port"),
        ("qdrant://./folder/films?timeout=soon", "timeout='soon' must be a number of seconds"),
        ("qdrant://./folder/films?timeot=5", "'timeot' is no option.*did you mean 'timeout'"),
        ("milvus://./file/films", r"must end with \.db"),
        ("milvus://./file.db/films?index=FLATT", "index='FLATT' is unknown"),
        ("lance://host/films", "is a local folder"),
        ("lance://./folder/films?index=HNSW", "index='HNSW' is unknown"),
        ("hf://datasets/films.lance", "names no dataset repository"),
        ("hf://models/org/films/films.lance", "names no dataset repository"),
        ("postgresql://host/database/films?index=flat", "index='flat' is unknown"),
    ],
)
def test_a_wrong_url(url: str, message: str) -> None:
    scheme = url.partition(":")[0]
    if scheme in ("qdrant", "milvus", "lance", "postgresql", "hf"):
        require_engine("lance" if scheme == "hf" else scheme)
    with pytest.raises(ValueError, match=message) as refusal:
        open_store(url)
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize(
    ("url", "extra"),
    [
        ("qdrant://./x.db/films", "qdrant"),
        ("milvus://./x.db/films", "milvus"),
        ("postgresql://host/db/films", "postgres"),
        ("lance://./x.db/films", "lance"),
        ("hf://datasets/org/x/films.lance", "lance"),
    ],
)
def test_a_missing_client_is_named(url: str, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.db").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(extras, "is_package_available", lambda package: False)
    with pytest.raises(ImportError, match=rf"Install it with: pip install 'onegen-hf\[{extra}\]'"):
        PassageIndex.load(url)


@pytest.mark.parametrize("scheme", ["qdrant", "milvus", "postgresql"])
@pytest.mark.parametrize("answers", [False, True])
def test_no_server_and_one_that_is_silent(scheme: str, answers: bool) -> None:
    """A port that is closed, and one that accepts connections and never answers."""
    require_engine(scheme)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        if answers:
            silent.listen()
        port = silent.getsockname()[1] if answers else free_port()
        database = "postgres/" if scheme == "postgresql" else ""
        with promptly(), pytest.raises(StoreError, match=rf"{scheme}://127.0.0.1:{port}/.*: see that the server runs"):
            PassageIndex.load(f"{scheme}://127.0.0.1:{port}/{database}films?timeout=2")


SERVERS = ["postgresql", "milvus server"]


@pytest.mark.parametrize("engine", SERVERS)
def test_wrong_credentials(engine: str, all_engines: Engines) -> None:
    require_engine(engine)
    right, refused = {
        "postgresql": (PASSWORD, "password authentication failed"),
        "milvus server": (MilvusServer.password, "Milvus refuses or does not answer"),
    }[engine]
    wrong = all_engines.url(engine).replace(f":{right}@", ":false-one@")
    with promptly(), pytest.raises(StoreError, match=refused) as refusal:
        PassageIndex.load(wrong)
    assert "false-one" not in str(refusal.value)


def build(setup: Setup, url: str) -> Any:
    PassageIndex.build(setup.model, setup.tokenizer, DOCUMENTS, backend=url, show_progress=False)
    return pipeline("onegen-rag", model=setup.model, tokenizer=copy.deepcopy(setup.tokenizer), index=url)


@pytest.mark.parametrize("engine", SERVERS)
def test_the_server_goes_in_the_middle_of_an_answer(engine: str, llama: Setup, all_engines: Engines) -> None:
    require_engine(engine)
    server = all_engines.server if engine == "postgresql" else all_engines.milvus
    rag = build(llama, all_engines.url(engine).partition("?")[0])
    options: dict[str, Any] = {"threshold": 0.0, "max_hops": 3, "max_new_tokens": 40}
    expected = rag("Where is it?", **options)
    assert expected["retrievals"]
    events = rag.stream("Where is it?", **options)
    for event in events:
        if event.type == "passages":
            break
    server.stop()
    try:
        with promptly(), pytest.raises(StoreError, match="refuses or does not answer"):
            list(events)
        with promptly(), pytest.raises(StoreError, match="refuses or does not answer"):
            rag("Where is it?", **options)
    finally:
        server.start()
    until(lambda: answers(rag, options, expected), seconds=120)  # nothing has to be opened again


def answers(rag: Any, options: dict[str, Any], expected: Any) -> bool:
    """Whether a server that was started again answers; Milvus loads its collections for a while."""
    try:
        assert rag("Where is it?", **options) == expected
    except StoreError:
        return False
    return True


@pytest.mark.parametrize("engine", SERVERS)
def test_a_server_that_falls_silent(engine: str, all_engines: Engines) -> None:
    require_engine(engine)
    url = f"{all_engines.url(engine).partition('?')[0]}?timeout="
    fill(f"{url}60", passages(5), unit(5)).store.close()
    collection = open_collection(f"{url}3")
    if engine == "postgresql":
        main = int((all_engines.server.data / "postmaster.pid").read_text().splitlines()[0])
        children = subprocess.check_output(["ps", "-o", "pid=", "--ppid", str(main)], text=True).split()
        processes = [main, *map(int, children)]
    else:
        processes = [all_engines.milvus.process]
    for process in processes:
        os.kill(process, signal.SIGSTOP)
    try:
        with promptly(), pytest.raises(StoreError):
            collection.search(torch.from_numpy(unit(1)), 1)
    finally:
        for process in processes:
            os.kill(process, signal.SIGCONT)
    until(lambda: finds(collection), seconds=60)


def finds(collection: StoredCollection) -> bool:
    """Whether a server that was silent answers again."""
    try:
        return collection.search(torch.from_numpy(unit(1)), 1)[1].shape == (1, 1)
    except StoreError:
        return False


def test_two_writers_lose_nothing(url: str) -> None:
    collection = fill(url, passages(10), unit(10))
    faults: list[Exception] = []

    def write(first: int) -> None:
        try:
            for start in range(first, first + 40, 10):
                collection.write(passages(10, first=start), np.ones(10, np.int64), unit(10, seed=start))
        except Exception as error:
            faults.append(error)

    writers = [threading.Thread(target=write, args=(first,)) for first in (100, 200)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert not faults
    assert len(collection) == 90 and collection.dimension == HIDDEN
    until(lambda: collection.get("p239") is not None)
