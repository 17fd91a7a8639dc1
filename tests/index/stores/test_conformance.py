"""What an index must do wherever it is kept: in files, searched with each backend, and in each database."""

from __future__ import annotations

import random
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.forked_python import ForkedPython
from support.index_fixtures import HIDDEN, make_corpus, make_model
from support.index_places import IndexPlace, search
from support.random_filters import random_filter, random_meta
from support.store_passages import BY_SENTENCE, FINGERPRINT, passages, unit

from onegen_hf import Passage, PassageIndex
from onegen_hf.filters import PassageFilter
from onegen_hf.index.stores import STORES, StoreLocation

NESTED = {"ключ": ["é", None, {"ñ": 1.5}]}
PRECISIONS = {
    "faiss": ("float32", "float16", "int8", "binary"),
    "torch": ("float32",),
    "postgresql": ("float32", "float16", "binary"),
    "lance": ("float32", "float16"),
}
"""What else than float32 is refused by the others; a Qdrant server, which is not here, has more."""


@pytest.mark.parametrize("count", [1, 7, 1000])
def test_a_search_is_exact(place: IndexPlace, count: int) -> None:
    vectors, queries = unit(count), unit(5, seed=1)
    index = place.fill(passages(count), vectors)
    assert len(index) == index.num_rows == count and index.dimension == HIDDEN
    for k in (1, 5, count + 3):
        scores, rows = index.search(torch.from_numpy(queries), k)
        assert (scores.dtype, rows.dtype, scores.shape) == (np.float32, np.int64, (5, min(k, count)))
        expected = queries @ vectors.T
        np.testing.assert_allclose(scores, -np.sort(-expected, axis=1)[:, :k], atol=1e-5)
        found = [[index[int(row)].meta["n"] for row in of_query] for of_query in rows]
        np.testing.assert_allclose(np.take_along_axis(expected, np.asarray(found), 1), scores, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("count", [10_000, 100_000])
def test_a_large_collection(place: IndexPlace, count: int) -> None:
    vectors, queries = unit(count), unit(20, seed=1)
    index = place.fill(passages(count), vectors)
    assert len(index) == count
    best = np.argsort(-(queries @ vectors.T), axis=1)[:, :10]
    assert search(index, queries, 10) == [[f"p{n}" for n in of_query] for of_query in best]
    assert index.get(f"p{count - 1}") == passages(1, first=count - 1)[0]


def test_another_process_finds_what_was_written(place: IndexPlace) -> None:
    corpus = [
        Passage("ü/1 'x' \"y\" %s {z}", "Zürich — 東京", "Straße\nمرحبا \\ \t 'quoted'", ("Straße.", "🗼"), NESTED),
        Passage("", "", "no id"),
        Passage("list", "meta is a list", "x", (), [1, "two", None]),
        Passage("long", "", "word " * 5000, (), "a text"),
    ]  # fmt: skip
    place.fill(corpus, unit(4))
    place.close()
    again = place.open()
    assert sorted(again, key=lambda passage: passage.id) == sorted(corpus, key=lambda passage: passage.id)
    assert [again.get(passage.id) for passage in corpus] == corpus
    assert again.get("nowhere") is None and again.get(5) is None  # type: ignore[arg-type]
    assert search(again, unit(4), 1) == [[passage.id] for passage in corpus]
    assert (again.dimension, again.granularity) == (HIDDEN, "passage")
    assert (again.model_id, again.revision) == ("org/m", None)
    assert again.fingerprint.difference(FINGERPRINT) is None


def test_the_model_is_checked(place: IndexPlace, tokenizer: Any) -> None:
    model, other = make_model(tokenizer), make_model(tokenizer, seed=5)
    target: dict[str, Any] = {"backend": place.name if place.in_files else place.target}
    index = PassageIndex.build(model, tokenizer, make_corpus(5), show_progress=False, **target)
    if place.in_files:
        index.save(place.target)
    else:
        place._opened.append(index)
    again = place.open()
    again.check_model(model, tokenizer)
    with pytest.raises(ValueError, match="the index was made by another model"):
        again.check_model(other, tokenizer)
    with pytest.raises(ValueError, match="the index was made by another model"):
        again.update(other, tokenizer, make_corpus(6), show_progress=False)
    assert len(again) == 5


def test_passages_are_added_replaced_and_removed(place: IndexPlace) -> None:
    index = place.fill(passages(20), unit(20))
    changed = [Passage("p3", "Title 3", "Another text.", (), {"n": 3}), *passages(2, first=20), *passages(1)]
    new = place.write(index, changed, unit(3, seed=5))
    assert [passage.id for passage in new] == ["p3", "p20", "p21"]  # p0 is there as it is
    for opened in (index, place.open()):
        assert len(opened) == 22
        assert opened.get("p3") == changed[0]
        assert search(opened, unit(3, seed=5), 1) == [["p3"], ["p20"], ["p21"]]
        assert search(opened, unit(20)[3:4], 1) != [["p3"]]
    place.remove(index, ["p3", "p0"])
    for opened in (index, place.open()):
        assert len(opened) == opened.num_rows == 20 and opened.get("p3") is None
        assert not {"p3", "p0"} & set(search(opened, unit(1), 30)[0])
    with pytest.raises(ValueError, match="the index has no passage 'p3'"):
        index.remove(["p3"])
    with pytest.raises(ValueError, match="all 20 passages would go"):
        index.remove([passage.id for passage in index])


def test_a_passage_counts_once_by_its_best_sentence(place: IndexPlace) -> None:
    corpus = [Passage(f"p{n}", "", f"A. B. C. {n}", ("A.", "B.", f"C. {n}")[: 1 + n % 3]) for n in range(30)]
    counts = np.asarray([len(passage.sentences) for passage in corpus])
    vectors, queries = unit(int(counts.sum())), unit(4, seed=1)
    index = place.fill(corpus, vectors, counts, BY_SENTENCE)
    assert len(index) == 30 and index.num_rows == counts.sum() and index.granularity == "sentence"
    owners = np.repeat(np.arange(30), counts)
    _, rows = index.search(torch.from_numpy(queries), 6)
    for query, of_query in zip(queries, rows, strict=True):
        scores = vectors @ query
        best = sorted(range(30), key=lambda n: -scores[owners == n].max())[:6]
        parts = [int(np.argmax(scores[owners == n])) for n in best]
        references = [f"p{n}#{part}" for n, part in zip(best, parts, strict=True)]
        assert [index.reference(int(row)) for row in of_query] == references
    place.write(index, [Passage("p2", "", "Z.", ("Z.",))], unit(1, seed=9), np.ones(1, np.int64))
    for opened in (index, place.open()):
        assert opened.num_rows == counts.sum() - 2 and len(opened) == 30
        assert search(opened, unit(1, seed=9), 1) == [["p2"]]


def test_filters_mean_the_same_everywhere(place: IndexPlace) -> None:
    numbers = random.Random(7)
    corpus = [Passage(f"p{n}", "", "x", (), random_meta(numbers)) for n in range(120)]
    vectors = unit(120)
    index = place.fill(corpus, vectors)
    order = np.argsort(-(unit(1, seed=1) @ vectors.T))[0]
    for _ in range(250):
        filter = random_filter(numbers, ordered_texts=place.name != "qdrant")
        wanted = PassageFilter(filter)
        expected = [f"p{n}" for n in order if wanted.matches(corpus[n].meta)]
        assert search(index, unit(1, seed=1), 120, filter)[0] == expected, filter


@pytest.mark.parametrize("precision", ["float32", "float16", "int8", "binary"])
@pytest.mark.parametrize("dimensions", [None, 16])
def test_smaller_vectors(place: IndexPlace, precision: str, dimensions: int | None) -> None:
    vectors, queries = unit(300), unit(40, seed=1)
    if precision not in PRECISIONS.get(place.name, ("float32",)):
        with pytest.raises(ValueError, match=f"precision='{precision}'"):
            place.fill(passages(300), vectors, precision=precision, dimensions=dimensions)
        return
    place.fill(passages(300), vectors, precision=precision, dimensions=dimensions)
    index = place.open()
    assert index.dimension == HIDDEN and index._collection.settings.get("dimensions") == dimensions
    kept = vectors[:, :dimensions] / np.linalg.norm(vectors[:, :dimensions], axis=1, keepdims=True)
    asked = queries[:, :dimensions] / np.linalg.norm(queries[:, :dimensions], axis=1, keepdims=True)
    best = np.argmax(asked @ kept.T, axis=1)
    found = search(index, queries, 1)
    recall = np.mean([ids == [f"p{n}"] for ids, n in zip(found, best, strict=True)])
    assert recall >= {"binary": 0.4 if dimensions else 0.6}.get(precision, 0.95)


def test_more_dimensions_than_there_are(place: IndexPlace, tokenizer: Any) -> None:
    model = make_model(tokenizer)
    target: dict[str, Any] = {"backend": place.name if place.in_files else place.target}
    with pytest.raises(ValueError, match=f"dimensions={2 * HIDDEN} is more than the {HIDDEN}"):
        PassageIndex.build(model, tokenizer, make_corpus(3), dimensions=2 * HIDDEN, show_progress=False, **target)


def test_where_nothing_is(place: IndexPlace) -> None:
    with pytest.raises(FileNotFoundError, match="no such"):
        place.open()
    folder = place.target if place.in_files else StoreLocation.parse(place.target, tuple(STORES)).folder
    assert folder is None or not Path(folder).exists()  # a mistyped name leaves nothing behind


def test_an_interrupted_build_is_no_index(place: IndexPlace, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(self: Any, *args: Any, **kwargs: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(place.writer, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            place.fill(passages(3), unit(3))
    with pytest.raises((ValueError, FileNotFoundError), match=r"its build was interrupted|is missing"):
        place.open()


def test_readers_and_a_writer_at_the_same_time(place: IndexPlace) -> None:
    """Readers of files open them again and again; those of a database keep their connection."""
    index = place.fill(passages(100), unit(100))
    stable = [f"p{n}" for n in range(50)]
    faults: list[Exception] = []
    done = threading.Event()
    turns = [0, 0]

    def read(reader: int) -> None:
        try:
            while not done.is_set():
                opened = PassageIndex.load(place.target) if place.in_files else index
                assert [ids[0] for ids in search(opened, unit(50), 1)] == stable
                turns[reader] += 1
        except Exception as error:
            faults.append(error)

    readers = [threading.Thread(target=read, args=(number,)) for number in range(2)]
    for reader in readers:
        reader.start()
    try:
        for turn in range(6):
            changed = [Passage(f"p{n}", "", f"Turn {turn}, {n}.") for n in range(50, 110)]
            place.write(index, changed, unit(60, seed=100 + turn))
            place.remove(index, ["p105"])
    finally:
        done.set()
        for reader in readers:
            reader.join(60)
    assert not faults and min(turns) > 0 and len(index) == len(place.open()) == 109


WRITER = textwrap.dedent(
    """
    import sys
    from support.index_places import IndexPlace
    from support.store_passages import passages, unit
    from onegen_hf.data.passages import Passage

    place = IndexPlace(sys.argv[1], sys.argv[2])
    index = place.open()
    turn = 0
    while True:
        turn += 1
        batch = [Passage(p.id, f"turn {turn}", f"turn {turn}, {p.id}", (), {"turn": turn}) for p in passages(400)]
        place.write(index, batch, unit(400, seed=turn))
        print(turn, flush=True)
    """
)


def test_killed_in_the_middle_of_an_update(place: IndexPlace, tmp_path: Path) -> None:
    place.fill(passages(400), unit(400))
    place.close()
    writer = ForkedPython(WRITER, place.name, place.target, directory=tmp_path)
    try:
        writer.wait_until_written("2\n")  # it is in its third turn, or a later one
        time.sleep(0.02)
    finally:
        writer.kill()
    # Every row is whole: its text, its meta and its vector are of one turn.
    index = place.open()
    assert len(index) == index.num_rows == 400
    kept = {passage.id: passage for passage in index}
    assert sorted(kept) == sorted(passage.id for passage in passages(400))
    turns = {passage.meta["turn"] for passage in kept.values()}
    assert min(turns) >= 2 and len(turns) <= (1 if place.in_files else 2)
    for turn in turns:
        vectors = unit(400, seed=turn)
        chosen = [n for n in range(400) if kept[f"p{n}"].title == f"turn {turn}"][:10]
        scores, rows = index.search(torch.from_numpy(vectors[chosen]), 1)
        np.testing.assert_allclose(scores[:, 0], 1.0, atol=1e-5)
        assert [index[int(row)].id for row in rows[:, 0]] == [f"p{n}" for n in chosen]
    # And it can be written again.
    place.write(index, passages(400), unit(400))
    assert len(index) == 400 and all(passage.title.startswith("Title") for passage in index)
