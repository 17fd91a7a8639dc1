"""Passages that nobody expects, in files and in every database: they are kept as they are, or refused by name."""

from __future__ import annotations

import random
import string
from typing import Any

import numpy as np
import pytest
from support.index_fixtures import CountedEmbed, make_corpus, make_model
from support.index_places import IndexPlace, search
from support.store_engines import Engines, require_engine
from support.store_passages import unit

from onegen_hf import Passage, PassageIndex
from onegen_hf.filters import PassageFilter

LONG = "i" * 10_000
MIXED: list[Any] = [None, 5, 5.0, "5", True, [5], ["5", 5], [], {}, {"x": 5}, [{"x": 5}], "", 0, False]


def test_long_ids(place: IndexPlace) -> None:
    random_id = "".join(random.Random(0).choices(string.ascii_letters, k=10_000))  # nothing to compress
    ids = [LONG, LONG[:-1] + "j", "ü" * 5_000, random_id]
    corpus = [Passage(name, "", f"Passage {n}.") for n, name in enumerate(ids)]
    index = place.fill(corpus, unit(4))
    for opened in (index, place.open()):
        assert [opened.get(passage.id) for passage in corpus] == corpus
        assert search(opened, unit(4), 1) == [[passage.id] for passage in corpus]
    for name in (LONG, random_id):
        changed = Passage(name, "", "changed")
        place.write(index, [changed], unit(1, seed=5))
        assert len(index) == len(place.open()) and index.get(name) == changed
        place.remove(index, [name])
        assert index.get(name) is None
    assert len(index) == 2


@pytest.mark.parametrize(
    "passage",
    [
        Passage("a\0b", "", "x"),
        Passage("p", "a\0b", "x"),
        Passage("p", "", "a\0b"),
        Passage("p", "", "a\0b. c", ("a\0b.", "c")),
        Passage("p", "", "x", (), {"key": "a\0b"}),
        Passage("p", "", "x", (), {"a\0b": ["c"]}),
        Passage("p", "", "x", (), [{"key": ["a\0b"]}]),
    ],
    ids=["id", "title", "text", "sentences", "meta", "key of meta", "nested meta"],
)
def test_null_characters(place: IndexPlace, passage: Passage) -> None:
    corpus = [Passage("first", "", "x"), passage]
    if place.name == "postgresql":
        with pytest.raises(ValueError, match=r"passage '(a\\x00b|p)' holds a null character, which PostgreSQL cannot"):
            place.fill(corpus, unit(2))
        return
    place.fill(corpus, unit(2))
    index = place.open()
    assert index.get(passage.id) == passage and sorted(p.id for p in index) == sorted(["first", passage.id])
    assert search(index, unit(2), 1) == [["first"], [passage.id]]


@pytest.mark.parametrize("updated", [False, True])
@pytest.mark.parametrize(
    ("engine", "unwanted"),
    [("postgresql", Passage("odd", "", "a\0b")), ("milvus", Passage("odd" * 30_000, "", "x"))],
    ids=["postgresql", "milvus"],
)
def test_what_a_database_cannot_keep_is_named_before_the_work(
    all_engines: Engines, tokenizer: Any, engine: str, unwanted: Passage, updated: bool
) -> None:
    require_engine(engine)
    url, model, corpus = all_engines.url(engine), make_model(tokenizer), make_corpus(5)
    options: dict[str, Any] = {"show_progress": False}
    index = PassageIndex.build(model, tokenizer, corpus, backend=url, **options) if updated else None
    counted = CountedEmbed(model)
    with pytest.raises(ValueError, match="passage 'odd.*(null character|more than the 65535 bytes)"):
        if index is None:
            PassageIndex.build(model, tokenizer, [*corpus, unwanted], backend=url, **options)
        else:
            index.update(model, tokenizer, [*corpus, unwanted], **options)
    assert sum(counted.rows) <= 4, "a passage was encoded"  # only the fingerprint


def test_empty_passages(place: IndexPlace) -> None:
    corpus = [Passage("", "", ""), Passage(" ", "", " "), Passage("\n", "\t", ""), Passage("x", "", "", ("",), {})]
    place.fill(corpus, unit(4))
    index = place.open()
    assert [index.get(passage.id) for passage in corpus] == corpus
    assert search(index, unit(4), 1) == [[passage.id] for passage in corpus]


FILTERS: list[Any] = [
    *(
        {"v": value}
        for value in (None, 5, 5.0, "5", True, False, "", 0, 10**18, LONG, "🗼\u2028\\u0000", "'; DROP TABLE x")
    ),
    *({"v": {"$ne": value}} for value in (None, 5)),
    *({"v": {"$gt": value}} for value in (4, -1e300)),
    {"v": {"$lte": 5}},
    {"v": {"$lt": 1e308}},
    {"v": {"$in": [5, "5", None]}},
    {"v": {"$nin": [5, "x"]}},
    {"v.x": 5},
    {"v.x": None},
    {"v.x.y": None},
    *({"missing": value} for value in (None, {"$ne": 1}, {"$gt": 0}, {"$nin": [1]})),
    {"$not": {"missing": 1}},
    {LONG: 5},
    {"it's": 5},
]


def test_filters_on_missing_and_mixed_values(place: IndexPlace) -> None:
    corpus = mixed_corpus()
    index = place.fill(corpus, unit(len(corpus)))
    order = np.argsort(-(unit(1, seed=1) @ unit(len(corpus)).T))[0]
    for filter in FILTERS:
        wanted = PassageFilter(filter)
        expected = [corpus[n].id for n in order if wanted.matches(corpus[n].meta)]
        assert search(index, unit(1, seed=1), len(corpus), filter)[0] == expected, filter


def test_a_key_with_quotation_marks(place: IndexPlace) -> None:
    key = """v"') or 1=1 --"""
    index = place.fill([Passage("p", "", "x", (), {key: 5}), Passage("q", "", "x", (), {"v": 5})], unit(2))
    if place.name == "qdrant":
        with pytest.raises(ValueError, match="Qdrant finds no key with a quotation mark"):
            search(index, unit(1), 1, {key: 5})
    else:
        assert search(index, unit(1), 2, {key: 5}) == [["p"]]


@pytest.mark.parametrize(
    ("filter", "error", "message"),
    [
        ({"": 5}, ValueError, "has an empty name"),
        ({"v": "a\0b"}, ValueError, "holds a null character"),
        ({"a\0b": 5}, ValueError, "holds a null character"),
        ({"v": {"$in": ["x", "a\0b"]}}, ValueError, "holds a null character"),
        ({"v": "\ud83d"}, ValueError, "half of a surrogate pair"),
        ({"\ud83d": 5}, ValueError, "half of a surrogate pair"),
        ({"v": {"$in": []}}, TypeError, "must be a list of values, at least one"),
    ],
)
def test_filters_that_no_engine_could_answer(filter: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        PassageFilter(filter)


def mixed_corpus() -> list[Passage]:
    metas: list[Any] = [{"v": value} for value in MIXED]
    metas += [None, [], "text", 5, True, {"": 5}, {"v": 10**18}, {"v": 10**18 + 1}, {"v": LONG}, {LONG: 5}]
    metas += [{"V": 5}, {"v": {"x": {"y": None}}}, {"v": [None, 5]}, {"v": -0.0}, {"v": 1e308}, {"it's": 5}]
    return [Passage(f"p{n}", "", "x", (), meta) for n, meta in enumerate(metas)]
