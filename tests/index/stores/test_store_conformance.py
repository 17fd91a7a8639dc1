"""What every store must do, asked of the real engine."""

from __future__ import annotations

import random
import threading
from typing import Any

import numpy as np
import pytest
import torch
from support.index_fixtures import HIDDEN
from support.store_passages import BY_SENTENCE, FINGERPRINT, fill, passages, search, unit

from onegen_hf import Passage
from onegen_hf.filters import PassageFilter
from onegen_hf.index.stores import PassageStore, open_store
from onegen_hf.index.stores.collection import StoredCollection
from onegen_hf.index.stores.opening import StoreTarget, open_collection

NESTED = {"ключ": ["é", None, {"ñ": 1.5}]}


@pytest.mark.parametrize("count", [1, 7, 1000])
def test_a_search_is_exact(url: str, count: int) -> None:
    vectors, queries = unit(count), unit(5, seed=1)
    collection = fill(url, passages(count), vectors)
    assert len(collection) == collection.num_rows == count and collection.dimension == HIDDEN
    for k in (1, 5, count + 3):
        scores, rows = collection.search(torch.from_numpy(queries), k)
        assert (scores.dtype, rows.dtype, scores.shape) == (np.float32, np.int64, (5, min(k, count)))
        expected = queries @ vectors.T
        np.testing.assert_allclose(scores, -np.sort(-expected, axis=1)[:, :k], atol=1e-5)
        found = [[collection.passage(int(row)).meta["n"] for row in of_query] for of_query in rows]
        np.testing.assert_allclose(np.take_along_axis(expected, np.asarray(found), 1), scores, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("count", [10_000, 100_000])
def test_a_large_collection(url: str, count: int) -> None:
    vectors, queries = unit(count), unit(20, seed=1)
    collection = fill(url, passages(count), vectors)
    assert len(collection) == count
    best = np.argsort(-(queries @ vectors.T), axis=1)[:, :10]
    assert search(collection, queries, 10) == [[f"p{n}" for n in of_query] for of_query in best]


def test_another_connection_finds_what_was_written(url: str) -> None:
    corpus = [
        Passage("ü/1 'x' \"y\" %s {z}", "Zürich — 東京", "Straße\nمرحبا \\ \t 'quoted'", ("Straße.", "🗼"), NESTED),
        Passage("", "", "no id"),
        Passage("list", "meta is a list", "x", (), [1, "two", None]),
        Passage("long", "", "word " * 5000, (), "a text"),
    ]  # fmt: skip
    first = fill(url, corpus, unit(4))
    first.store.close()
    again = open_collection(url)
    assert sorted(again, key=lambda passage: passage.id) == sorted(corpus, key=lambda passage: passage.id)
    assert [again.get(passage.id) for passage in corpus] == corpus
    assert again.get("nowhere") is None and again.get(5) is None  # type: ignore[arg-type]
    assert search(again, unit(4), 1) == [[passage.id] for passage in corpus]
    assert sorted(again.ids().to_pylist()) == sorted(passage.id for passage in corpus)
    kept = again.properties
    assert (kept.dimension, kept.dimensions, kept.precision, kept.granularity) == (HIDDEN, None, "float32", "passage")
    assert (kept.model_id, kept.revision) == ("org/m", None)
    assert kept.fingerprint.difference(FINGERPRINT) is None
    again.store.close()


def test_passages_are_added_replaced_and_removed(url: str) -> None:
    collection = fill(url, passages(20), unit(20))
    changed = [Passage("p3", "Title 3", "Another text.", (), {"n": 3}), *passages(2, first=20), *passages(1)]
    plan = collection.changes(changed)  # type: ignore[arg-type]
    assert [passage.id for passage in plan.new] == ["p3", "p20", "p21"]  # p0 is there as it is
    collection.apply(plan, np.ones(3, np.int64), unit(3, seed=5))
    assert len(collection) == 22
    assert collection.get("p3") == changed[0]
    assert search(collection, unit(3, seed=5), 1) == [["p3"], ["p20"], ["p21"]]
    assert search(collection, unit(20)[3:4], 1) != [["p3"]]
    nothing = np.empty((0, HIDDEN), np.float32)
    collection.apply(collection.removal(["p3", "p0"]), np.empty(0, np.int64), nothing)
    assert len(collection) == 20 and collection.get("p3") is None
    assert not {"p3", "p0"} & set(search(collection, unit(1), 30)[0])
    with pytest.raises(ValueError, match="the index has no passage 'p3'"):
        collection.removal(["p3"])
    with pytest.raises(ValueError, match="all 20 passages would go"):
        collection.removal([passage.id for passage in collection])
    with pytest.raises(IndexError, match="was removed"):
        collection.passage(5)


def test_a_passage_counts_once_by_its_best_sentence(url: str) -> None:
    corpus = [Passage(f"p{n}", "", "A. B. C.", ("A.", "B.", "C.")[: 1 + n % 3]) for n in range(30)]
    counts = np.asarray([len(passage.sentences) for passage in corpus])
    vectors, queries = unit(int(counts.sum())), unit(4, seed=1)
    collection = StoreTarget(url).fill(corpus, counts, vectors, BY_SENTENCE, None, None)
    assert len(collection) == 30 and collection.num_rows == counts.sum()
    owners = np.repeat(np.arange(30), counts)
    _, rows = collection.search(torch.from_numpy(queries), 6)
    for query, of_query in zip(queries, rows, strict=True):
        scores = vectors @ query
        best = sorted(range(30), key=lambda n: -scores[owners == n].max())[:6]
        assert [collection.passage(int(row)).id for row in of_query] == [f"p{n}" for n in best]
        parts = [int(np.argmax(scores[owners == n])) for n in best]
        assert [collection.part(int(row)) for row in of_query] == parts
    shorter = [Passage("p2", "", "Z.", ("Z.",))]
    collection.apply(collection.changes(shorter), np.ones(1, np.int64), unit(1, seed=9))  # type: ignore[arg-type]
    assert collection.num_rows == counts.sum() - 2 and len(collection) == 30


NAMES = ["lang", "n", "tags", "author", "a b", "ключ"]
VALUES = ["en", "de", "", "it's", 'say "no"', "back\\slash", 0, 1, 2, 2.5, -3, True, False, None]


def random_meta(numbers: random.Random) -> Any:
    def value(depth: int) -> Any:
        kind = numbers.random()
        if kind < 0.15 and depth < 2:
            return {numbers.choice(NAMES): value(depth + 1) for _ in range(2)}
        if kind < 0.35:
            return [numbers.choice(VALUES[:-1]) for _ in range(numbers.randrange(3))]
        if kind < 0.42 and depth < 2:
            return [{numbers.choice(NAMES): value(depth + 1)}]
        return numbers.choice(VALUES)

    return None if numbers.random() < 0.1 else {name: value(0) for name in numbers.sample(NAMES, 3)}


def random_filter(numbers: random.Random, ordered_texts: bool, depth: int = 0) -> dict[str, Any]:
    kind = numbers.random()
    if kind < 0.25 and depth < 2:
        operator = numbers.choice(["$and", "$or"])
        return {operator: [random_filter(numbers, ordered_texts, depth + 1) for _ in range(2)]}
    if kind < 0.4 and depth < 2:
        return {"$not": random_filter(numbers, ordered_texts, depth + 1)}
    path = ".".join(numbers.sample(NAMES, numbers.choice([1, 1, 2])))
    operator = numbers.choice(["$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin"])
    if operator in ("$in", "$nin"):
        return {path: {operator: numbers.sample(VALUES, 3)}}
    values = VALUES
    if operator not in ("$eq", "$ne"):
        values = [value for value in VALUES if isinstance(value, (int, float)) and not isinstance(value, bool)]
        values += [value for value in VALUES if isinstance(value, str)] if ordered_texts else []
    return {path: {operator: numbers.choice(values)}}


def test_filters_mean_the_same_everywhere(url: str, scheme: str) -> None:
    numbers = random.Random(7)
    corpus = [Passage(f"p{n}", "", "x", (), random_meta(numbers)) for n in range(120)]
    vectors = unit(120)
    collection = fill(url, corpus, vectors)
    order = np.argsort(-(unit(1, seed=1) @ vectors.T))[0]
    for _ in range(250):
        filter = random_filter(numbers, ordered_texts=scheme != "qdrant")
        wanted = PassageFilter(filter)
        expected = [f"p{n}" for n in order if wanted.matches(corpus[n].meta)]
        assert search(collection, unit(1, seed=1), 120, filter)[0] == expected, filter


def test_what_an_engine_cannot_filter_is_named(scheme: str, url: str) -> None:
    if scheme != "qdrant":
        pytest.skip("the other stores order texts")
    with pytest.raises(ValueError, match="Qdrant has no order of texts"):
        search(fill(url, passages(2), unit(2)), unit(1), 1, {"lang": {"$gt": "de"}})


@pytest.mark.parametrize("precision", ["float32", "float16", "int8", "binary"])
@pytest.mark.parametrize("dimensions", [None, 16])
def test_smaller_vectors(scheme: str, url: str, precision: str, dimensions: int | None) -> None:
    vectors, queries = unit(300), unit(40, seed=1)
    if precision not in {"postgresql": ("float32", "float16", "binary"), "lance": ("float32", "float16")}.get(
        scheme, ("float32",)
    ):
        with pytest.raises(ValueError, match=f"precision='{precision}'"):
            fill(url, passages(300), vectors, precision=precision, dimensions=dimensions)
        return
    collection = fill(url, passages(300), vectors, precision=precision, dimensions=dimensions)
    assert (collection.properties.precision, collection.properties.dimensions) == (precision, dimensions)
    assert collection.dimension == HIDDEN
    kept = vectors[:, :dimensions] / np.linalg.norm(vectors[:, :dimensions], axis=1, keepdims=True)
    asked = queries[:, :dimensions] / np.linalg.norm(queries[:, :dimensions], axis=1, keepdims=True)
    best = np.argmax(asked @ kept.T, axis=1)
    found = search(collection, queries, 1)
    recall = np.mean([ids == [f"p{n}"] for ids, n in zip(found, best, strict=True)])
    assert recall >= {"binary": 0.4 if dimensions else 0.6}.get(precision, 0.95)
    with pytest.raises(ValueError, match="dimensions=64 is more than the 32"):
        StoreTarget(f"{url}2", dimensions=64).check(HIDDEN, 1)


def test_nothing_is_overwritten(url: str) -> None:
    fill(url, passages(2), unit(2)).store.close()
    with pytest.raises(ValueError, match="already holds an index: add to it"):
        StoreTarget(url)


def test_no_collection(url: str) -> None:
    with pytest.raises(FileNotFoundError, match="there is no such collection"):
        open_collection(url)


def test_an_interrupted_build_is_no_index_and_is_made_anew(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(self: Any, *args: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(StoredCollection, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            fill(url, passages(3), unit(3))
    connected = open_store(url)
    assert connected.properties() is not None
    connected.close()
    with pytest.raises(ValueError, match="its build was interrupted"):
        open_collection(url)


def test_after_an_interruption_it_can_be_built(url: str) -> None:
    target = StoreTarget(url)
    interrupted = target.fill(passages(3), np.ones(3, np.int64), unit(3), FINGERPRINT, None, None)
    interrupted.store.set_properties({**interrupted.properties.to_dict(), "complete": False})
    interrupted.store.close()
    collection = fill(url, passages(5), unit(5))
    assert len(collection) == 5 and len(search(collection, unit(1), 9)[0]) == 5


def test_someone_elses_collection_is_left_alone(url: str) -> None:
    store = open_store(url)
    store.create({"theirs": 1}, HIDDEN, "float32")
    store.close()
    for use in (StoreTarget, open_collection):
        with pytest.raises(ValueError, match="was not made by this package"):
            use(url)


def test_readers_and_a_writer_at_the_same_time(url: str) -> None:
    collection = fill(url, passages(100), unit(100))
    stable = [f"p{n}" for n in range(50)]
    faults: list[Exception] = []
    done = threading.Event()

    def read() -> None:
        try:
            while not done.is_set():
                found = search(collection, unit(50), 1)
                assert [ids[0] for ids in found] == stable
        except Exception as error:
            faults.append(error)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    try:
        for turn in range(6):
            changed = [Passage(f"p{n}", "", f"Turn {turn}.") for n in range(50, 110)]
            collection.write(changed, np.ones(60, np.int64), unit(60, seed=100 + turn))
            collection.store.delete(["p105"])
    finally:
        done.set()
        for reader in readers:
            reader.join(60)
    assert not faults and len(collection) == 109


def test_a_row_has_a_number_of_its_own(url: str) -> None:
    collection = fill(url, passages(50), unit(50))
    _, rows = collection.search(torch.from_numpy(unit(1)), 50)
    again = open_collection(url) if not isinstance(collection.store.location.folder, str) else collection
    assert len(set(rows[0].tolist())) == 50 and (rows >= 0).all()
    assert all(again.passage(int(row)).id.startswith("p") for row in rows[0])
    assert isinstance(collection.store, PassageStore)
    assert [passage.id for passage in collection.passages] and collection.passages[3].id.startswith("p")
    in_order, by_place = list(collection.passages), collection.passages
    assert [by_place[place] for place in (0, 7, 8, 49, 3, 3)] == [in_order[place] for place in (0, 7, 8, 49, 3, 3)]
    for beyond in (50, -1):
        with pytest.raises(IndexError):
            collection.passages[beyond]
    with pytest.raises(TypeError, match="rows are numbers"):
        collection.passage("p1")  # type: ignore[arg-type]
