"""An index brought up to date equals one that is built anew, and encodes nothing twice."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.index_fixtures import HIDDEN, CountedEmbed, make_corpus, make_model

from onegen_hf import Passage
from onegen_hf.index import PassageIndex
from onegen_hf.index.backends import faiss_rearrange as rearrange
from onegen_hf.index.backends.faiss import FaissBackend, build_faiss, try_inverted_lists

FACTORIES = ["Flat", "SQ8", "HNSW16", "IVF2,Flat", "IVF2,SQ8", "PCA16,L2norm,Flat", "IVF2,SQ4,RFlat"]


def build(tokenizer: Any, corpus: Any, factory: str = "Flat", **settings: Any) -> PassageIndex:
    return PassageIndex.build(
        make_model(tokenizer, **settings), tokenizer, corpus, factory=factory, show_progress=False
    )


def queries(number: int = 20) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(number, HIDDEN)).astype(np.float32)


def assert_same_answers(ours: PassageIndex, theirs: PassageIndex, k: int = 7) -> None:
    assert list(ours) == list(theirs)
    assert [ours.reference(r) for r in range(ours.num_rows)] == [theirs.reference(r) for r in range(theirs.num_rows)]
    (scores, rows), (expected, expected_rows) = ours.search(queries(), k), theirs.search(queries(), k)
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    # Equal scores may change places.
    assert (rows == expected_rows).mean() > 0.97


def changed_corpus() -> tuple[list[Passage], list[Passage], list[str]]:
    """What is given to `update`, the corpus afterwards, and what is removed in between."""
    before, more = make_corpus(16), make_corpus(20)[16:]
    longer = replace(before[3], text="A boat. A mill. A song.", sentences=("A boat.", "A mill.", "A song."))
    shorter = replace(before[7], text="One bridge.", sentences=("One bridge.",))
    removed = ["p0", "p9", "p15"]
    after = [longer if p is before[3] else shorter if p is before[7] else p for p in before]
    return (
        [more[0], shorter, before[5], *more[1:], longer],
        [*(p for p in after if p.id not in removed), *more],
        removed,
    )


@pytest.mark.parametrize("granularity", ["passage", "sentence"])
@pytest.mark.parametrize("loaded", [False, True])
@pytest.mark.parametrize("order", ["update first", "remove first"])
def test_equals_a_fresh_build(tokenizer: Any, tmp_path: Path, granularity: str, loaded: bool, order: str) -> None:
    given, after, removed = changed_corpus()
    index = build(tokenizer, make_corpus(16), granularity=granularity)
    if loaded:
        index.save(tmp_path)
        index = PassageIndex.load(tmp_path)
    model = make_model(tokenizer, granularity=granularity)
    if order == "remove first":
        index.remove(removed)
    assert index.update(model, tokenizer, given, show_progress=False) is index
    if order == "update first":
        index.remove(iter(removed))
    fresh = build(tokenizer, after, granularity=granularity)
    assert_same_answers(index, fresh)
    index.save(tmp_path)
    assert_same_answers(PassageIndex.load(tmp_path), fresh)


@pytest.mark.parametrize("factory", FACTORIES)
def test_every_kind_of_index(tokenizer: Any, tmp_path: Path, factory: str) -> None:
    """Against the same trained index filled with the final corpus: clusters and codebooks stay those of the build."""
    given, after, removed = changed_corpus()
    build(tokenizer, make_corpus(16), factory).save(tmp_path)
    index = PassageIndex.load(tmp_path)
    fresh = build(tokenizer, after)
    index.update(make_model(tokenizer), tokenizer, given, show_progress=False).remove(removed)
    trained = build(tokenizer, make_corpus(16), factory)
    vectors = fresh.backend.index.reconstruct_n(0, fresh.num_rows)
    trained.backend.index.reset()
    trained.backend.index.add(vectors)
    for faiss_index in (index.backend.index, trained.backend.index):
        if (lists := try_inverted_lists(faiss_index)) is not None:
            lists.nprobe = lists.nlist
    scores, rows = index.search(queries(), 5)
    expected, expected_rows = trained.backend.index.search(
        queries() / np.linalg.norm(queries(), axis=1, keepdims=True), 5
    )
    # Rounding in the encoder's batches can tip a component into the next of the quantizer's steps.
    np.testing.assert_allclose(scores, expected, atol=5e-3 if "SQ" in factory else 1e-5)
    assert (rows == expected_rows).mean() > (0.9 if "SQ" in factory else 0.97)
    assert list(index) == after


@pytest.mark.parametrize(
    "factory",
    [
        "PQ8x4",
        "HNSW16",
        "IVF4_HNSW8,Flat",
        "IVF4,PQ8x4,RFlat",
        *(pytest.param(factory, marks=pytest.mark.slow) for factory in ("IVF4,PQ8x4", "OPQ8,IVF4,PQ8x4")),
    ],  # fmt: skip
)
def test_rows_of_trained_indexes_move(factory: str) -> None:
    vectors = queries(420)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    index, expected = build_faiss(vectors[:400], factory), build_faiss(vectors[:400], factory)
    source = np.concatenate([np.arange(200, 390), [-1], np.arange(150), np.full(19, -1)])
    final = np.where((source >= 0)[:, None], vectors[source], 0)
    final[source < 0] = vectors[400:]
    found = rearrange.rearrange(index, source, vectors[400:])
    expected.reset()
    expected.add(final)
    assert found.ntotal == len(source) and index.ntotal == 400
    ours, theirs = found.search(queries(30), 5), expected.search(queries(30), 5)
    np.testing.assert_allclose(ours[0], theirs[0], atol=1e-5)
    assert (ours[1] == theirs[1]).mean() > 0.97


def test_a_new_graph_over_codes_finds_as_much() -> None:
    """The graph links what codes stand for; the rebuilt one, the vectors themselves."""
    vectors = queries(2000)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    index = build_faiss(vectors[:1900], "HNSW16_SQ8")
    found = rearrange.rearrange(index, np.concatenate([np.arange(200, 1900), np.full(100, -1)]), vectors[1900:])
    rebuilt = build_faiss(vectors[:1900], "HNSW16_SQ8")
    rebuilt.reset()
    rebuilt.add(vectors[200:])
    best = rebuilt.storage.search(queries(100), 10)[1]
    hits = [best[:, :, None] == one.search(queries(100), 10)[1][:, None] for one in (found, rebuilt)]
    ours, theirs = (one.any(axis=2).mean() for one in hits)
    assert theirs > 0.7
    assert abs(ours - theirs) < 0.05


def test_only_what_is_new_or_changed_is_encoded(tokenizer: Any) -> None:
    given, _, _ = changed_corpus()
    index, model = build(tokenizer, make_corpus(16)), make_model(tokenizer)
    counted = CountedEmbed(model)
    index.update(model, tokenizer, given, batch_size=2, show_progress=False)
    assert counted.rows == [4, 2, 2, 2]  # the fingerprint's probes; six of seven passages, p5 being as it was
    counted.rows.clear()
    index.update(model, tokenizer, make_corpus(3)[:2], show_progress=False)
    assert counted.rows == [4]
    assert len(index) == 20


def test_many_small_updates(tokenizer: Any) -> None:
    index, model = build(tokenizer, make_corpus(4)), make_model(tokenizer)
    for number in range(12):
        index.update(model, tokenizer, [{"id": "x", "title": "", "text": f"Version {number}."}], show_progress=False)
        index.update(model, tokenizer, [Passage(f"n{number}", "", "A kite.")], show_progress=False)
    assert [p.id for p in index] == [*(f"p{i}" for i in range(4)), "x", *(f"n{i}" for i in range(12))]
    assert index.passages[4].text == "Version 11."


@pytest.mark.parametrize(
    ("passages", "error", "message"),
    [
        (["A text."], ValueError, "passage 0 has no id"),
        ([{"text": "A text."}], ValueError, "passage 0 has no id"),
        ([Passage("a", "", "x"), Passage("a", "", "y")], ValueError, "'a' stands for more than one passage"),
        ([{"id": "a", "text": ""}], ValueError, "has no text"),
        ("A text.", TypeError, "single text"),
        ([], ValueError, "corpus is empty"),
    ],
)
def test_faulty_passages_leave_the_index(tokenizer: Any, passages: Any, error: type, message: str) -> None:
    index = build(tokenizer, make_corpus(4))
    with pytest.raises(error, match=message):
        index.update(make_model(tokenizer), tokenizer, passages, show_progress=False)
    assert list(index) == make_corpus(4)


def test_dataset_without_ids(tokenizer: Any) -> None:
    from datasets import Dataset

    with pytest.raises(ValueError, match="no column 'id'"):
        build(tokenizer, make_corpus(2)).update(make_model(tokenizer), tokenizer, Dataset.from_dict({"text": ["a"]}))


def test_faulty_removals_leave_the_index(tokenizer: Any) -> None:
    index = build(tokenizer, make_corpus(4))
    with pytest.raises(ValueError, match="no passage 'a', 'b'"):
        index.remove(["p1", "b", "a"])
    with pytest.raises(ValueError, match="and 3 more"):
        index.remove([f"x{i}" for i in range(8)])
    with pytest.raises(ValueError, match="all 4 passages would go"):
        index.remove(["p0", "p1", "p2", "p3"])
    with pytest.raises(TypeError, match=r"such as \['p1'\]"):
        index.remove("p1")
    assert list(index.remove([])) == make_corpus(4)


def test_another_model_may_not_update(tokenizer: Any) -> None:
    with pytest.raises(ValueError, match="made by another model"):
        build(tokenizer, make_corpus(4)).update(make_model(tokenizer, seed=4), tokenizer, make_corpus(5))


def test_an_index_that_cannot_change_says_so(tokenizer: Any) -> None:
    fingerprint = build(tokenizer, make_corpus(1)).fingerprint
    backend = FaissBackend.of(build_faiss(queries(40), "PQ8x4fs"), "PQ8x4fs")
    index = PassageIndex(make_corpus(40), backend, np.ones(40, np.int64), fingerprint)
    with pytest.raises(ValueError, match="IndexPQFastScan can't be updated.*Build it again"):
        index.remove(["p1"])
    assert len(index) == 40


def test_search_parameters_survive(tokenizer: Any) -> None:
    index = build(tokenizer, make_corpus(16), "IVF4,Flat")
    index.set_search_parameters(nprobe=3)
    assert try_inverted_lists(index.remove(["p2"]).backend.index).nprobe == 3


def test_failed_save_keeps_the_old_index(tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(tokenizer, make_corpus(4)).save(tmp_path)
    index = PassageIndex.load(tmp_path).remove(["p1"])

    def fail(*args: Any) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        index.save(tmp_path)
    assert list(PassageIndex.load(tmp_path)) == make_corpus(4)


def test_long_passages_are_split_also_by_an_update(tokenizer: Any, caplog: pytest.LogCaptureFixture) -> None:
    model = make_model(tokenizer)
    long = {"id": "long", "title": "Boat", "text": "The boat is made of tin. " * 30}
    short = {"id": "short", "title": "Mill", "text": "A mill."}
    options: dict[str, Any] = {"show_progress": False, "max_tokens_per_passage": 30}
    with caplog.at_level("WARNING"):
        index = PassageIndex.build(model, tokenizer, [long, short], **options)
    ids = [passage.id for passage in index]
    assert ids[:2] == ["long#0", "long#1"] and ids[-1] == "short"
    assert f"1 of 2 passages took more than 30 tokens and were split into {len(ids) - 1} pieces" in caplog.text
    assert "were cut" not in caplog.text
    # A passage that is short now has no pieces any more, and one that is long now has no whole.
    index.update(model, tokenizer, [{**long, "text": "A boat."}, {**short, "text": long["text"]}], **options)
    after = {passage.id for passage in index}
    assert "long" in after and "short#0" in after and not {"short", "long#0"} & after
    fresh = PassageIndex.build(
        model, tokenizer, [{**long, "text": "A boat."}, {**short, "text": long["text"]}], **options
    )
    assert {passage.id: passage for passage in fresh} == {passage.id: passage for passage in index}


def test_a_limit_beyond_the_model_is_refused_before_the_work(tokenizer: Any) -> None:
    model = make_model(tokenizer)
    counted = CountedEmbed(model)
    with pytest.raises(ValueError, match="max_tokens_per_passage=9999"):
        PassageIndex.build(model, tokenizer, make_corpus(2), show_progress=False, max_tokens_per_passage=9999)
    assert not counted.rows
