"""What goes wrong with a database is said at once and by name; nothing hangs, and nothing is half written."""

from __future__ import annotations

import copy
import os
import signal
import socket
import subprocess
import sys
import textwrap
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
from support.store_engines import Engines, PostgresServer, free_port, require_engine, until
from support.store_passages import fill, passages, unit
from transformers import pipeline

from onegen_hf import PassageIndex
from onegen_hf.importing import extras
from onegen_hf.index.stores import StoreError, open_store
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
        ("lance://host/films", "local folders here"),
        ("postgresql://host/database/films?index=flat", "index='flat' is unknown"),
    ],
)
def test_a_wrong_url(url: str, message: str) -> None:
    scheme = url.partition(":")[0]
    if scheme in ("qdrant", "milvus", "lance", "postgresql"):
        require_engine(scheme)
    with pytest.raises(ValueError, match=message) as refusal:
        open_store(url)
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize(
    ("url", "extra"),
    [
        ("qdrant://./x/films", "qdrant"),
        ("milvus://./x.db/films", "milvus"),
        ("postgresql://host/db/films", "postgres"),
        ("lance://./x/films", "lance"),
    ],
)
def test_a_missing_client_is_named(url: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_wrong_credentials(all_engines: Engines) -> None:
    require_engine("postgresql")
    wrong = all_engines.url("postgresql").replace("sesame", "wrong")
    with promptly(), pytest.raises(StoreError, match="password authentication failed") as refusal:
        PassageIndex.load(wrong)
    assert "wrong" not in str(refusal.value).replace("wrong password", "")


def build(setup: Setup, url: str) -> Any:
    PassageIndex.build(setup.model, setup.tokenizer, DOCUMENTS, backend=url, show_progress=False)
    return pipeline("onegen-rag", model=setup.model, tokenizer=copy.deepcopy(setup.tokenizer), index=url)


def test_the_server_goes_in_the_middle_of_an_answer(llama: Setup) -> None:
    require_engine("postgresql")
    server = PostgresServer()
    try:
        rag = build(llama, f"{server.url}/films")
        options: dict[str, Any] = {"threshold": 0.0, "max_hops": 3, "max_new_tokens": 40}
        expected = rag("Where is it?", **options)
        assert expected["retrievals"]
        events = rag.stream("Where is it?", **options)
        for event in events:
            if event.type == "passages":
                break
        server.stop()
        with promptly(), pytest.raises(StoreError, match="PostgreSQL refuses or does not answer"):
            list(events)
        with promptly(), pytest.raises(StoreError, match="PostgreSQL refuses or does not answer"):
            rag("Where is it?", **options)
        server.start()
        assert rag("Where is it?", **options) == expected  # nothing has to be opened again
    finally:
        server.remove()


def test_a_server_that_falls_silent(llama: Setup, all_engines: Engines) -> None:
    require_engine("postgresql")
    server = all_engines.server
    collection = fill(f"{all_engines.url('postgresql')}?timeout=2", passages(5), unit(5))
    pids = [int(line) for line in (server.data / "postmaster.pid").read_text().splitlines()[:1]]
    children = [
        int(pid) for pid in subprocess.check_output(["ps", "-o", "pid=", "--ppid", str(pids[0])], text=True).split()
    ]
    for pid in (*pids, *children):
        os.kill(pid, signal.SIGSTOP)
    try:
        with promptly(), pytest.raises(StoreError):
            collection.search(torch.from_numpy(unit(1)), 1)
    finally:
        for pid in (*pids, *children):
            os.kill(pid, signal.SIGCONT)
    assert collection.search(torch.from_numpy(unit(1)), 1)[1].shape == (1, 1)


WRITER = textwrap.dedent(
    """
    import sys
    import numpy as np
    sys.path[:0] = sys.argv[2:]
    from support.store_passages import passages, unit
    from onegen_hf.data.passages import Passage
    from onegen_hf.index.stores.opening import open_collection

    collection = open_collection(sys.argv[1])
    turn = 0
    while True:
        turn += 1
        batch = [Passage(p.id, f"turn {turn}", f"turn {turn}", (), {"turn": turn}) for p in passages(400)]
        collection.write(batch, np.ones(400, np.int64), unit(400, seed=turn))
        print(turn, flush=True)
    """
)


def test_killed_in_the_middle_of_an_upsert(url: str, tmp_path: Path) -> None:
    fill(url, passages(400), unit(400)).store.close()
    command = [sys.executable, "-c", WRITER, url, str(ROOT), str(ROOT / "tests")]
    writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path)
    try:
        assert writer.stdout is not None
        assert writer.stdout.readline() and writer.stdout.readline()  # it is in its third turn
        time.sleep(0.02)
    finally:
        writer.kill()
        writer.wait(30)
    # Every row is whole: its text, its meta and its vector are of one turn.
    collection = open_collection(url)
    assert len(collection) == collection.num_rows == 400
    kept = {passage.id: passage for passage in collection}
    assert sorted(kept) == sorted(passage.id for passage in passages(400))
    turns = {passage.meta["turn"] for passage in kept.values()}
    assert turns <= {2, 3, 4} and len(turns) <= 2
    for turn in turns:
        vectors = unit(400, seed=turn)
        chosen = [n for n in range(400) if kept[f"p{n}"].text == f"turn {turn}"][:10]
        scores, rows = collection.search(torch.from_numpy(vectors[chosen]), 1)
        np.testing.assert_allclose(scores[:, 0], 1.0, atol=1e-5)
        assert [collection.passage(int(row)).id for row in rows[:, 0]] == [f"p{n}" for n in chosen]
    # And it can be written again.
    collection.write(passages(400), np.ones(400, np.int64), unit(400))
    assert len(collection) == 400 and all(passage.title.startswith("Title") for passage in collection)
    collection.store.close()


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
