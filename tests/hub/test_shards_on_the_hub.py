"""Machines that share nothing but a repository of the Hub encode one corpus together."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.hub_faults import Fault
from support.hub_processes import TOKEN, connect
from support.index_fixtures import CountedEmbed, make_corpus, make_model, make_tokenizer
from support.loopback import LoopbackHub
from support.shard_workers import contents

from onegen_hf import Passage, PassageIndex
from onegen_hf.cli.main import main
from onegen_hf.index import encode_shards, encode_shards_on_hub, fetch_shards, merge_shards
from onegen_hf.index.shards import encoder, repository
from onegen_hf.index.shards.layout import ShardFolder
from onegen_hf.index.shards.manifest import Manifest
from onegen_hf.index.shards.repository import ShardRepository

SHARD = 16
ADDRESS, KEY = "hf://datasets/org/films", "datasets/org/films"
FORK = multiprocessing.get_context("fork")


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return make_tokenizer()


@pytest.fixture
def model(tokenizer: Any) -> Any:
    return make_model(tokenizer)


@pytest.fixture(autouse=True)
def connected(hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connect(hub, tmp_path / "cache", monkeypatch)
    monkeypatch.setattr(repository, "_PATIENCE", 20.0)
    monkeypatch.setattr(repository, "_SHORTEST_PAUSE", 0.01)


def encode(
    model: Any, tokenizer: Any, corpus: Any, folder: Path, address: str = ADDRESS, **options: Any
) -> tuple[Manifest, bool]:
    options = {"shard_size": SHARD, "show_progress": False, **options}
    return encode_shards_on_hub(model, tokenizer, corpus, folder, address, **options)


def expected_shards(model: Any, tokenizer: Any, corpus: Any, folder: Path, **options: Any) -> dict[str, str]:
    """Name → digest of what one process writes into a folder."""
    encode_shards(model, tokenizer, corpus, folder, shard_size=SHARD, show_progress=False, **options)
    return contents(folder / "1")


def published(hub: LoopbackHub, folder: Path, key: str = KEY, below: str = "") -> dict[str, str]:
    """Name → digest of what a repository holds."""
    shutil.rmtree(folder, ignore_errors=True)
    for name, content in hub.repositories[key]["main"].items():
        if name.startswith(below):
            path = folder / name.removeprefix(below)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    return contents(folder)


class Machine:
    """A process with a folder of its own; `log` gets a line for each shard that it has encoded."""

    def __init__(self, log: Path, *args: Any, pause: float = 0.0, **options: Any) -> None:
        self.process = FORK.Process(target=self._run, args=(log, pause, args, options))
        self.process.start()

    @staticmethod
    def _run(log: Path, pause: float, args: tuple[Any, ...], options: dict[str, Any]) -> None:
        torch.set_num_threads(1)
        write: Callable[..., None] = encoder.write_shard

        def logged(path: Path, *rest: Any, **named: Any) -> None:
            time.sleep(pause)
            write(path, *rest, **named)
            with open(log, "a") as file:
                file.write(f"{int(path.name)}\n")

        encoder.write_shard = logged
        encode(*args, **options)

    def kill(self) -> bool:
        """Kill it, and say whether it still ran."""
        alive = self.process.is_alive()
        if alive:
            os.kill(self.process.pid or 0, signal.SIGKILL)
        self.process.join()
        return alive

    def join(self) -> None:
        self.process.join(120)
        assert self.process.exitcode == 0


# What comes out.


def test_one_machine(hub: LoopbackHub, model: Any, tokenizer: Any, tmp_path: Path) -> None:
    corpus = make_corpus(40)
    expected = expected_shards(model, tokenizer, corpus, tmp_path / "folder")
    manifest, is_mine = encode(model, tokenizer, corpus, tmp_path / "work", private=True)
    assert is_mine and manifest.num_passages == 40
    assert published(hub, tmp_path / "published") == expected
    assert KEY in hub.private
    # The next call finds all done, and merging falls to it.
    counted = CountedEmbed(model)
    assert encode(model, tokenizer, corpus, tmp_path / "other")[1]
    assert sum(counted.rows) <= 4, "a passage was encoded"  # only the fingerprint
    assert not list((tmp_path / "work" / "1").glob("staged*"))


def test_a_folder_of_a_repository_and_its_index(hub: LoopbackHub, model: Any, tokenizer: Any, tmp_path: Path) -> None:
    corpus = make_corpus(40)
    address = f"{ADDRESS}/shards/new"
    expected = expected_shards(model, tokenizer, corpus, tmp_path / "folder")
    encode(model, tokenizer, corpus, tmp_path / "work", address)
    assert published(hub, tmp_path / "published", below="shards/new/") == expected
    fetch_shards(address, tmp_path / "empty", show_progress=False)
    assert contents(tmp_path / "empty" / "1") == {
        name: digest for name, digest in expected.items() if name != "encoding.json"
    }
    merged = merge_shards(tmp_path / "empty", tmp_path / "index", show_progress=False)
    merge_shards(tmp_path / "folder", tmp_path / "expected", show_progress=False)
    assert contents(tmp_path / "index") == contents(tmp_path / "expected")
    merged.push_to_hub("org/films")
    loaded = PassageIndex.load("org/films", cache_dir=tmp_path / "fresh")
    assert [passage.id for passage in loaded] == [passage.id for passage in corpus]
    loaded.check_model(model, tokenizer)


def test_pieces_and_repeated_texts(hub: LoopbackHub, model: Any, tokenizer: Any, tmp_path: Path) -> None:
    corpus = [Passage(f"p{n}", f"Title {n % 30}", "A kite is red. " * (1 + n % 6)) for n in range(60)]
    options = {"deduplicate": True, "max_tokens_per_passage": 20}
    expected = expected_shards(model, tokenizer, corpus, tmp_path / "folder", **options)
    encode(model, tokenizer, corpus, tmp_path / "work", **options)
    assert published(hub, tmp_path / "published") == expected
    clash = [*corpus, Passage("p1#1", "", "A boat.")]
    encode(model, tokenizer, clash, tmp_path / "clash", "hf://datasets/org/clash", **options)
    with pytest.raises(ValueError, match="the id 'p1#1' stands for a passage and for a piece of another one"):
        fetch_shards("hf://datasets/org/clash", tmp_path / "clash", show_progress=False)


def test_machines_do_their_share_and_then_help(hub: LoopbackHub, model: Any, tokenizer: Any, tmp_path: Path) -> None:
    """The second machine comes when the first has done its own share."""
    corpus, log = make_corpus(10 * SHARD), tmp_path / "log"
    expected = expected_shards(model, tokenizer, corpus, tmp_path / "folder")
    arguments = (model, tokenizer, corpus)
    first = Machine(log, *arguments, tmp_path / "a", machine_rank=0, num_machines=2, pause=0.1)
    while len(log.read_text().split() if log.exists() else []) < 5:
        time.sleep(0.02)
    second = Machine(tmp_path / "log-b", *arguments, tmp_path / "b", machine_rank=1, num_machines=2, pause=0.1)
    for machine in (first, second):
        machine.join()
    order = list(map(int, log.read_text().split()))
    assert order[:5] == [0, 2, 4, 6, 8] and order[5:] == sorted(order[5:], reverse=True)
    helped = list(map(int, (tmp_path / "log-b").read_text().split()))
    assert helped == sorted(helped) and {*order, *helped} == set(range(10))
    assert len(order) + len(helped) <= 11  # at most the one where they met
    assert published(hub, tmp_path / "published") == expected


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_killed_machine_is_replaced(hub: LoopbackHub, model: Any, tokenizer: Any, tmp_path: Path, seed: int) -> None:
    """By one with the same rank and an empty folder; its two processes share one."""
    corpus, log, chance = make_corpus(12 * SHARD), tmp_path / "log", random.Random(seed)
    expected = expected_shards(model, tokenizer, corpus, tmp_path / "folder")

    def start(rank: int, folder: str) -> Machine:
        options = {"machine_rank": rank, "num_machines": 2, "pause": 0.05}
        return Machine(log, model, tokenizer, corpus, tmp_path / folder, **options)

    machines = [start(0, "a"), start(0, "a"), start(1, "b")]
    killed = 0
    for attempt in range(3):
        time.sleep(chance.uniform(0.05, 0.3))
        killed += machines[2].kill()
        machines[2] = start(1, f"b{attempt}" if attempt % 2 else "b")
    for machine in machines:
        machine.join()
    assert killed
    assert published(hub, tmp_path / "published") == expected
    assert len(log.read_text().split()) <= 12 + 2 * killed + 3


# What goes wrong.


@pytest.mark.parametrize("status", [412, 503, *(pytest.param(s, marks=pytest.mark.slow) for s in (409, 429, 500))])
def test_a_commit_that_is_refused_for_now(
    hub: LoopbackHub, model: Any, tokenizer: Any, tmp_path: Path, status: int
) -> None:
    corpus = make_corpus(40)
    expected = expected_shards(model, tokenizer, corpus, tmp_path / "folder")
    hub.faults.append(Fault("POST", "/commit/main", status, times=4))
    encode(model, tokenizer, corpus, tmp_path / "work")
    assert not hub.faults[0].times
    assert published(hub, tmp_path / "published") == expected


@pytest.mark.parametrize(("method", "times"), [("PUT", 1), ("POST", 3)])
def test_an_upload_that_breaks_off(
    hub: LoopbackHub, model: Any, tokenizer: Any, tmp_path: Path, method: str, times: int
) -> None:
    """The client itself repeats a PUT, after a second; the commit is repeated by us."""
    corpus = make_corpus(40)
    expected = expected_shards(model, tokenizer, corpus, tmp_path / "folder")
    hub.faults.append(Fault(method, "storage/" if method == "PUT" else "/commit/main", cut_after=100, times=times))
    encode(model, tokenizer, corpus, tmp_path / "work")
    assert not hub.faults[0].times
    assert published(hub, tmp_path / "published") == expected


def test_two_machines_send_the_same_shard(hub: LoopbackHub, tmp_path: Path) -> None:
    first, second = ShardRepository(ADDRESS), ShardRepository(ADDRESS)
    first.open()
    seen = []

    def is_there(state: Any) -> bool:
        if not seen:  # between the look of the second and its commit
            assert first.add({"shards/0": b"first"}, "Add", lambda state: False)
        seen.append(state.commit)
        return "shards/0" in state.files

    assert not second.add({"shards/0": b"second"}, "Add", is_there)
    assert len(seen) == 2 and hub.repositories[KEY]["main"]["shards/0"] == b"first"


@pytest.mark.parametrize(("token", "status"), [("hf_reader", 403), ("", 401)])
def test_a_token_that_may_not_write(
    hub: LoopbackHub,
    model: Any,
    tokenizer: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    token: str,
    status: int,
) -> None:
    hub.repositories[KEY] = {"main": {}}
    hub.readers.add("hf_reader")
    monkeypatch.setenv("HF_TOKEN", token)
    counted = CountedEmbed(model)
    with pytest.raises(OSError, match=rf"{ADDRESS}: the Hub does not let this user write there \({status}.*HF_TOKEN"):
        encode(model, tokenizer, make_corpus(20), tmp_path / "work")
    assert sum(counted.rows) <= 4, "a passage was encoded"


def test_a_token_that_is_taken_away(
    hub: LoopbackHub, model: Any, tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = make_corpus(40)
    expected = expected_shards(model, tokenizer, corpus, tmp_path / "folder")
    write = encoder.write_shard

    def last(path: Path, *rest: Any, **named: Any) -> None:
        write(path, *rest, **named)
        hub.readers.add(TOKEN)

    monkeypatch.setattr(encoder, "write_shard", last)
    with pytest.raises(OSError, match="does not let this user write there"):
        encode(model, tokenizer, corpus, tmp_path / "work")
    assert ShardFolder(tmp_path / "work" / "1").finished() == {0}, "what is encoded is kept"
    hub.readers.clear()
    monkeypatch.undo()
    connect(hub, tmp_path / "cache", monkeypatch)
    counted = CountedEmbed(model)
    encode(model, tokenizer, corpus, tmp_path / "work")
    assert sum(counted.rows) <= 24 + 4, "a finished shard was encoded again"
    assert published(hub, tmp_path / "published") == expected


def test_a_hub_that_is_gone(model: Any, tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repository, "_PATIENCE", 0.5)
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(OSError, match=f"{ADDRESS}: the Hub cannot be reached, or refuses"):
        encode(model, tokenizer, make_corpus(20), tmp_path / "work")


def test_shards_of_another_model(hub: LoopbackHub, model: Any, tokenizer: Any, tmp_path: Path) -> None:
    encode(model, tokenizer, make_corpus(20), tmp_path / "work")
    before = dict(hub.repositories[KEY]["main"])
    with pytest.raises(ValueError, match=f"{ADDRESS} holds the shards of another model.*other weights"):
        encode(make_model(tokenizer, seed=1), tokenizer, make_corpus(20), tmp_path / "other")
    with pytest.raises(ValueError, match="precision was 'float32' and is now 'float16'"):
        encode(model, tokenizer, make_corpus(20), tmp_path / "half", precision="float16")
    assert hub.repositories[KEY]["main"] == before


def test_a_model_that_joins_at_the_same_time(
    hub: LoopbackHub, model: Any, tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither of two machines finds the repository begun at its start; the second to begin it is refused."""
    from onegen_hf.index.shards import hub_runner

    join = hub_runner.join_repository

    def then_another(*args: Any) -> bool:
        result = join(*args)
        monkeypatch.setattr(hub_runner, "join_repository", join)
        encode(make_model(tokenizer, seed=1), tokenizer, make_corpus(20), tmp_path / "other")
        return result

    monkeypatch.setattr(hub_runner, "join_repository", then_another)
    with pytest.raises(ValueError, match=f"{ADDRESS} holds the shards of another model"):
        encode(model, tokenizer, make_corpus(20), tmp_path / "work")


def changed_meta(corpus: list[Passage]) -> list[Passage]:
    last = corpus[-1]
    return [*corpus[:-1], Passage(last.id, last.title, last.text, last.sentences, {"year": 2001})]


@pytest.mark.parametrize(
    ("corpus", "shard_size", "message"),
    [
        (make_corpus(41), SHARD, "passages is 40 there and 41 here"),
        ([Passage("x", "", "A boat."), *make_corpus(40)[1:]], SHARD, "beginning is"),
        ([*make_corpus(39), Passage("x", "", "A boat.")], SHARD, "digest is"),
        (changed_meta(make_corpus(40)), SHARD, "digest is"),
        (make_corpus(40), 8, "shard_size is 16 there and 8 here"),
    ],
    ids=["longer", "other beginning", "other end", "other meta", "other shards"],
)
def test_another_corpus(
    hub: LoopbackHub, model: Any, tokenizer: Any, tmp_path: Path, corpus: Any, shard_size: int, message: str
) -> None:
    encode(model, tokenizer, make_corpus(40), tmp_path / "work")
    with pytest.raises(ValueError, match=f"{ADDRESS} holds the shards of another corpus.*{message}"):
        encode(model, tokenizer, corpus, tmp_path / "other", shard_size=shard_size)


def test_a_manifest_of_a_later_release(hub: LoopbackHub, model: Any, tokenizer: Any, tmp_path: Path) -> None:
    encode(model, tokenizer, make_corpus(20), tmp_path / "work")
    files = hub.repositories[KEY]["main"]
    files["manifest.json"] = json.dumps({**json.loads(files["manifest.json"]), "format_version": 99}).encode()
    with pytest.raises(ValueError, match="format version 99: pip install --upgrade onegen-hf"):
        fetch_shards(ADDRESS, tmp_path / "fetched", show_progress=False)


def test_an_encoding_that_is_not_finished(hub: LoopbackHub, model: Any, tokenizer: Any, tmp_path: Path) -> None:
    encode(model, tokenizer, make_corpus(20), tmp_path / "work")
    del hub.repositories[KEY]["main"]["manifest.json"]
    with pytest.raises(FileNotFoundError, match=f"{ADDRESS} has no manifest.json: this is no finished encoding"):
        fetch_shards(ADDRESS, tmp_path / "fetched", show_progress=False)


def test_a_shard_that_was_changed_in_the_repository(
    hub: LoopbackHub, model: Any, tokenizer: Any, tmp_path: Path
) -> None:
    encode(model, tokenizer, make_corpus(20), tmp_path / "work")
    files = hub.repositories[KEY]["main"]
    name = "shards/00000001/embeddings.safetensors"
    files[name] = files[name][:-8] + bytes(8)
    fetch_shards(ADDRESS, tmp_path / "fetched", show_progress=False)
    with pytest.raises(ValueError, match=r"00000001.embeddings.safetensors is not what was written, by its checksum"):
        merge_shards(tmp_path / "fetched", tmp_path / "index", show_progress=False)


@pytest.mark.parametrize(
    "address",
    ["", "org/films", "hf://org/films", "hf://datasets/org", "hf://datasets/org/films/../x", "hf://models/a/b"],
)
def test_no_such_address(model: Any, tokenizer: Any, tmp_path: Path, address: str) -> None:
    with pytest.raises(ValueError, match="repository"):
        encode(model, tokenizer, make_corpus(20), tmp_path / "work", address)
    assert not (tmp_path / "work").exists()


def test_ranks(model: Any, tokenizer: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="machine_rank=2 must be below num_machines=2: count from 0"):
        encode(model, tokenizer, make_corpus(20), tmp_path / "work", machine_rank=2, num_machines=2)


# From the command line.


def index_command(tmp_path: Path, machine: str, *more: str) -> list[str]:
    return [
        "index", "--model", str(tmp_path / "model"), "--passages", str(tmp_path / "corpus.jsonl"),
        "--shards", str(tmp_path / machine), "--shard-size", str(SHARD), "--output-dir", ADDRESS, *more,
    ]  # fmt: skip


@pytest.fixture
def files(model: Any, tokenizer: Any, tmp_path: Path) -> None:
    """A checkpoint and a corpus."""
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    records = [{"id": passage.id, "title": passage.title, "text": passage.text} for passage in make_corpus(40)]
    (tmp_path / "corpus.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))


def test_the_command(
    files: None, hub: LoopbackHub, model: Any, tokenizer: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(index_command(tmp_path, "a", "--private", "--factory", "IVF4,SQ8"))
    assert "PassageIndex(40 passages" in (shown := capsys.readouterr().out) and "saved to org/films" in shown
    index = PassageIndex.load("org/films", cache_dir=tmp_path / "fresh")
    assert [passage.id for passage in index] == [f"p{n}" for n in range(40)] and KEY in hub.private
    index.check_model(model, tokenizer)
    before = dict(hub.repositories[KEY]["main"])
    main(index_command(tmp_path, "b", "--num-machines", "2", "--machine-rank", "1", "--factory", "IVF4,SQ8"))
    assert hub.repositories[KEY]["main"] == before


def test_only_one_machine_merges(
    files: None, hub: LoopbackHub, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from onegen_hf.index.shards.hub_worker import HubWorker

    complete = HubWorker._complete

    def late(self: Any, *args: Any) -> bool:
        """Another machine sees the last shard first."""
        monkeypatch.setattr(HubWorker, "_complete", complete)
        main(index_command(tmp_path, "b"))
        return complete(self, *args)

    monkeypatch.setattr(HubWorker, "_complete", late)
    main(index_command(tmp_path, "a"))
    shown = capsys.readouterr().out.splitlines()
    assert "saved to org/films" in shown[0]
    assert shown[1] == f"40 passages encoded in {ADDRESS}; another machine merges them"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--output-dir", ADDRESS], "is a repository of the Hub: add --shards FOLDER"),
        (["--output-dir", ADDRESS, "--shards", "x", "--update"], "update=True is for shards in a shared folder"),
        (["--output-dir", ADDRESS, "--shards", "x", "--runner", "ray"], "runner='ray' is for shards in a shared"),
        (["--output-dir", ADDRESS, "--shards", "x", "--machine-rank", "1"], "machine_rank=1 must be below num_machi"),
        (["--output-dir", "x", "--shards", "x", "--num-machines", "2"], "num_machines=2 is for an --output-dir on th"),
        (["--output-dir", "x", "--private"], "private=True is for an --output-dir on the Hub"),
    ],
)
def test_options_that_do_not_go_together(options: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["index", "--passages", "x", *options])
    assert message in capsys.readouterr().err


def test_an_address_that_is_none(files: None, tmp_path: Path) -> None:
    command = [part.replace(ADDRESS, "hf://org/films") for part in index_command(tmp_path, "a")]
    with pytest.raises(SystemExit, match="repository='hf://org/films' is no dataset repository: write hf://datasets"):
        main(command)
