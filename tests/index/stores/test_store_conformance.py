"""What belongs to collections of a database, and not to indexes in files, asked of the real engines."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.index_fixtures import HIDDEN
from support.store_engines import Engines, require_engine
from support.store_passages import BY_SENTENCE, FINGERPRINT, fill, passages, search, unit

from onegen_hf import Passage
from onegen_hf.data.documents import DocumentStore
from onegen_hf.index.stores import PassageStore, StoredRow, open_store
from onegen_hf.index.stores.opening import StoreTarget, open_collection


def test_what_an_engine_cannot_filter_is_named(all_engines: Engines) -> None:
    require_engine("qdrant")
    with pytest.raises(ValueError, match="Qdrant has no order of texts"):
        search(fill(all_engines.url("qdrant"), passages(2), unit(2)), unit(1), 1, {"lang": {"$gt": "de"}})


@pytest.mark.parametrize("precision", ["float32", "float16", "binary"])
def test_postgresql_keeps_every_bit(all_engines: Engines, precision: str) -> None:
    """A query with a single one makes a row's score the number at that place."""
    require_engine("postgresql")
    vectors = unit(600)  # more than a batch
    corpus = [Passage(f"p{n}", "", "x") for n in range(600)]
    collection = fill(all_engines.url("postgresql"), corpus, vectors, precision=precision)
    scores, rows = collection.search(torch.eye(HIDDEN), 600)
    kept = np.empty_like(vectors)
    for column, (numbers, of_query) in enumerate(zip(scores, rows, strict=True)):
        kept[[int(collection.passage(int(row)).id[1:]) for row in of_query], column] = numbers
    np.testing.assert_array_equal(kept, vectors.astype("float16" if precision == "float16" else "float32"))


@pytest.mark.parametrize("precision", ["float32", "float16", "binary"])
def test_postgresql_reads_no_second_table_for_a_search(all_engines: Engines, precision: str) -> None:
    """Beside a vector of more than 2 KB, it would move whatever else has more than 24 bytes to a table of its own."""
    require_engine("postgresql")
    import psycopg

    corpus = [Passage(f"p{n}", "", "x", (), {"n": n, "words": [f"word {n}"] * 20}) for n in range(20)]
    url = all_engines.url("postgresql")
    fill(url, corpus, unit(20, hidden=1152), precision=precision)
    with psycopg.connect(all_engines.server.url) as connection:
        moved = "SELECT pg_relation_size(reltoastrelid) FROM pg_class WHERE relname = %s"
        assert connection.execute(moved, [url.rpartition("/")[2]]).fetchone() == (0,)


def test_nothing_is_overwritten(url: str) -> None:
    fill(url, passages(2), unit(2)).store.close()
    with pytest.raises(ValueError, match="already holds an index: add to it"):
        StoreTarget(url)


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
    with pytest.raises(IndexError, match="was removed"):
        collection.passage(5)


@pytest.fixture
def few_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows with numbers below 64, so that different passages share them."""
    key = StoredRow.key.fget
    assert key is not None
    monkeypatch.setattr(StoredRow, "key", property(lambda row: key(row) % 64))


@pytest.mark.usefixtures("few_keys")
def test_two_passages_with_one_number_are_refused_by_name(url: str) -> None:
    by_key: dict[int, list[Passage]] = {}
    for passage in passages(200):
        by_key.setdefault(StoredRow(passage, 0).key, []).append(passage)
    (first, second, *_), *others = [shared for shared in by_key.values() if len(shared) > 1]
    with pytest.raises(ValueError, match=f"passages '{first.id}' and '{second.id}' have the same row key"):
        fill(url, [first, others[0][0], second], unit(3))
    collection = fill(url, [first, others[0][0]], unit(2))
    assert collection.get(second.id) is None
    plan = collection.changes(DocumentStore([others[1][0], second]))
    with pytest.raises(ValueError, match=f"passages '{first.id}' and '{second.id}' have the same row key"):
        collection.apply(plan, np.ones(2, np.int64), unit(2, seed=3))
    assert collection.get(first.id) == first and search(collection, unit(1), 1) == [[first.id]]


@pytest.mark.usefixtures("few_keys")
def test_two_sentences_with_one_number_are_refused(url: str) -> None:
    passage = Passage("p", "", "A. B. C.", tuple(f"{n}." for n in range(70)))
    with pytest.raises(ValueError, match="passages 'p.*' and 'p#.*' have the same row key"):
        StoreTarget(url).fill([passage], np.asarray([70]), unit(70), BY_SENTENCE, None, None)
