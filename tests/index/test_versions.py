"""A new index takes the place of the old one in one step: who loads meanwhile gets one of them, whole."""

from __future__ import annotations

import pickle
import time
from pathlib import Path
from typing import Any

import pytest
from support.index_fixtures import make_corpus, make_model, make_tokenizer
from support.shard_workers import FORK

from onegen_hf import Passage, PassageIndex
from onegen_hf.hub.layout import current_version
from onegen_hf.index import encode_shards, merge_shards
from onegen_hf.index.local_collection import LocalCollection
from onegen_hf.index.publish import index_upload
from onegen_hf.index.versions import publish_version

KITES = [Passage(f"kite-{n}", "Kite", f"Kite {n} is red.") for n in range(40)]
BOATS = [Passage(f"boat-{n}", "Boat", f"Boat {n} is made of tin.") for n in range(60)]


@pytest.fixture(scope="module")
def indexes() -> list[PassageIndex]:
    """Of two models and two corpora."""
    tokenizer = make_tokenizer()
    return [
        PassageIndex.build(make_model(tokenizer, seed=seed), tokenizer, corpus, show_progress=False)
        for seed, corpus in enumerate((KITES, BOATS))
    ]


def publish(index: PassageIndex, directory: Path) -> None:
    with publish_version(directory) as version:
        index.save(version)


def check(index: PassageIndex) -> int:
    """Which of the two corpora an index holds, all of it, with its own vectors; returns its number."""
    number = 0 if len(index) == len(KITES) else 1
    corpus = (KITES, BOATS)[number]
    assert list(index) == corpus and index.num_rows == len(corpus)
    return number


def test_one_after_the_other(indexes: list[PassageIndex], tmp_path: Path) -> None:
    publish(indexes[0], tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index.faiss", "index.json", "passages.parquet"]
    held = PassageIndex.load(tmp_path)
    publish(indexes[1], tmp_path)
    loaded = PassageIndex.load(tmp_path)
    assert check(loaded) == 1 and loaded.fingerprint.difference(indexes[1].fingerprint) is None
    assert check(held) == 0, "an index that was loaded has changed"
    publish(indexes[0], tmp_path)
    assert check(PassageIndex.load(tmp_path)) == 0 and check(loaded) == 1
    # One is kept for those who have loaded it, older ones are gone.
    assert sorted(path.name for path in (tmp_path / "versions").iterdir()) == ["1", "2"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["current.json", "versions"]
    publish(indexes[1], tmp_path)
    assert sorted(path.name for path in (tmp_path / "versions").iterdir()) == ["2", "3"]


def test_after_an_error_the_old_one_stays(indexes: list[PassageIndex], tmp_path: Path) -> None:
    publish(indexes[0], tmp_path)
    publish(indexes[1], tmp_path)
    with pytest.raises(RuntimeError, match="disk"), publish_version(tmp_path) as version:
        version.mkdir(parents=True)
        (version / "index.json").write_text("{}")
        raise RuntimeError("disk")
    assert check(PassageIndex.load(tmp_path)) == 1
    publish(indexes[0], tmp_path)
    assert check(PassageIndex.load(tmp_path)) == 0


def test_saving_takes_precedence(indexes: list[PassageIndex], tmp_path: Path) -> None:
    publish(indexes[0], tmp_path)
    publish(indexes[1], tmp_path)
    indexes[0].save(tmp_path)
    assert check(PassageIndex.load(tmp_path)) == 0 and current_version(tmp_path) == tmp_path
    publish(indexes[1], tmp_path)
    assert check(PassageIndex.load(tmp_path)) == 1


def test_what_else_reads_an_index(indexes: list[PassageIndex], tmp_path: Path) -> None:
    publish(indexes[0], tmp_path)
    publish(indexes[1], tmp_path)
    upload = index_upload(tmp_path, "org/boats")
    assert f"{len(BOATS)}" in str(upload.card)
    assert check(pickle.loads(pickle.dumps(PassageIndex.load(tmp_path)))) == 1


def test_an_index_beside_its_model(tmp_path: Path) -> None:
    tokenizer = make_tokenizer()
    model = make_model(tokenizer)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    index = PassageIndex.build(model, tokenizer, KITES, show_progress=False)
    publish(index, tmp_path / "index")
    publish(index, tmp_path / "index")
    assert PassageIndex.load(tmp_path / "index").search_text("A kite is red.", k=1)[0].title == "Kite"


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"version": "../../x"}', '{"version": true}', '{"version": null}']
)
def test_a_strange_pointer(indexes: list[PassageIndex], tmp_path: Path, content: str) -> None:
    publish(indexes[0], tmp_path)
    (tmp_path / "current.json").write_text(content)
    with pytest.raises(ValueError, match="current.json (is damaged|names no version)"):
        PassageIndex.load(tmp_path)


def _read_again_and_again(directory: Path, until: Path, loads: Path) -> None:
    while not until.exists():
        number = check(PassageIndex.load(directory))
        with open(loads, "a", encoding="utf-8") as file:
            file.write(str(number))


def test_readers_while_it_is_switched(indexes: list[PassageIndex], tmp_path: Path) -> None:
    directory, loads = tmp_path / "index", [tmp_path / str(reader) for reader in range(2)]
    publish(indexes[0], directory)
    readers = [FORK.Process(target=_read_again_and_again, args=(directory, tmp_path / "stop", file)) for file in loads]
    for file, reader in zip(loads, readers, strict=True):
        file.touch()
        reader.start()
    for number in range(1, 12):
        publish(indexes[number % 2], directory)
        before = [file.stat().st_size for file in loads]
        # The one before is kept, so a reader may be one switch behind, and no more.
        while any(file.stat().st_size == size for file, size in zip(loads, before, strict=True)):
            assert all(reader.is_alive() for reader in readers)
            time.sleep(0.01)
    (tmp_path / "stop").touch()
    for file, reader in zip(loads, readers, strict=True):
        reader.join(60)
        assert reader.exitcode == 0
        assert set(file.read_text()) == {"0", "1"}


def test_an_index_that_is_replaced_twice_while_it_is_loaded(
    indexes: list[PassageIndex], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then the files that the reader was about to open are gone."""
    publish(indexes[0], tmp_path)
    read = LocalCollection.read

    def late(root: Path, *rest: Any) -> LocalCollection:
        monkeypatch.setattr(LocalCollection, "read", read)
        publish(indexes[1], tmp_path)
        publish(indexes[1], tmp_path)
        return read(root, *rest)

    monkeypatch.setattr(LocalCollection, "read", late)
    assert check(PassageIndex.load(tmp_path)) == 1
    (current_version(tmp_path) / "passages.parquet").unlink()
    with pytest.raises(FileNotFoundError, match="passages.parquet"):
        PassageIndex.load(tmp_path)


def test_after_training(tmp_path: Path) -> None:
    tokenizer = make_tokenizer()
    for seed in range(2):
        model = make_model(tokenizer, seed=seed)
        encode_shards(model, tokenizer, make_corpus(40), tmp_path / f"shards-{seed}", 16, show_progress=False)
        index = merge_shards(tmp_path / f"shards-{seed}", tmp_path / "index", show_progress=False)
        index.check_model(model, tokenizer)
    with pytest.raises(ValueError, match="the index was made by another model"):
        index.check_model(make_model(tokenizer, seed=0), tokenizer)
