"""A search by words beside the search by embedding: fused, filtered, saved, and never trusted from a stranger."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from support.index_fixtures import HIDDEN, make_model

from onegen_hf import Passage, PassageIndex
from onegen_hf.index.backends import make_backend
from onegen_hf.index.fusion import RANK_OFFSET, less_missing_words, reciprocal_rank_fusion
from onegen_hf.index.words import WordIndex

CORPUS = [
    Passage("rome", "Rome", "The capital of Italy, on the Tiber.", (), {"lang": "en"}),
    Passage("kite", "Kites", "A red kite flies over the harbour.", (), {"lang": "en"}),
    Passage("zuerich", "Zürich", "Die Straße am Fluss.", (), {"lang": "de"}),
    Passage("harbour", "Harbour", "Boats of tin lie in the harbour; harbour, harbour.", (), {"lang": "de"}),
    Passage("empty", "?", "...", (), None),
]


def build(model: Any, tokenizer: Any, **options: Any) -> PassageIndex:
    return PassageIndex.build(model, tokenizer, CORPUS, show_progress=False, **options)


def ids(index: PassageIndex, rows: np.ndarray) -> list[list[str]]:
    return [[index[int(row)].id for row in of_query if row >= 0] for of_query in rows]


def unit(count: int, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(count, HIDDEN)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("harbour", [3, 1]),
        ("HARBOUR boats", [3, 1]),
        ("straße", [2]),
        ("Where is the Tiber?", [0]),
        ("nothing known", []),
        ("", []),
        ("?!", []),
    ],
)
def test_what_words_find(text: str, expected: list[int]) -> None:
    words = WordIndex.build(CORPUS)
    found = words.best(words.scores(text), 5).tolist()
    assert found[: len(expected)] == expected and (expected or not found)


def test_ranks_are_fused() -> None:
    near, words = np.asarray([4, 2, 7]), np.asarray([7, 9])
    scores = {4: 0.7 / (RANK_OFFSET + 1), 2: 0.7 / (RANK_OFFSET + 2), 9: 0.3 / (RANK_OFFSET + 2)}
    scores[7] = 0.7 / (RANK_OFFSET + 3) + 0.3 / (RANK_OFFSET + 1)
    assert reciprocal_rank_fusion([(0.7, near), (0.3, words)], 9) == sorted(scores, key=lambda n: -scores[n])
    assert reciprocal_rank_fusion([(1.0, near), (0.0, words)], 9) == [4, 2, 7]
    assert reciprocal_rank_fusion([(0.0, near), (1.0, words)], 1) == [7]


def test_what_words_lack_is_taken_off() -> None:
    cosines, words = {4: 0.9, 2: 0.8, 7: 0.5, 9: 0.45}, np.asarray([0, 0, 1.0, 0, 0, 0, 0, 4.0, 0, 2.0], np.float32)
    scores = less_missing_words(cosines, words, 0.2)
    assert list(scores) == [4, 2, 7, 9]
    assert scores == pytest.approx({4: 0.9 - 0.25, 2: 0.8 - 0.25 * 3 / 4, 7: 0.5, 9: 0.45 - 0.25 / 2})
    assert list(less_missing_words(cosines, words, 0.5))[:2] == [7, 2]
    assert less_missing_words(cosines, words, 0.0) == pytest.approx(cosines)
    assert less_missing_words(cosines, np.zeros(10, np.float32), 0.2) == cosines


@given(
    st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=30),
    st.floats(0, 0.9375, width=32),
    st.data(),
)
def test_scores_rank_as_their_convex_combination(cosines: list[float], weight: float, data: Any) -> None:
    count = len(cosines)
    words = np.asarray(data.draw(st.lists(st.sampled_from([0.0, 0.5, 3.0]), min_size=count, max_size=count)))
    scores = less_missing_words(dict(enumerate(cosines)), words, weight)
    sums = (1 - weight) * np.asarray(cosines) + weight * words / (words.max() or 1)
    assert sorted(scores) == list(range(count))
    assert (np.diff(sums[list(scores)]) <= 1e-6).all() and (np.diff(list(scores.values())) <= 0).all()
    assert all(score <= cosines[number] + 1e-6 for number, score in scores.items())


@pytest.mark.parametrize("fusion", ["rrf", "weighted"])
@pytest.mark.parametrize("backend", ["faiss", "torch"])
@pytest.mark.parametrize("granularity", ["passage", "sentence"])
def test_scores_have_the_scale_of_cosines(tokenizer: Any, backend: str, granularity: str, fusion: Any) -> None:
    model = make_model(tokenizer, granularity=granularity)
    index = build(model, tokenizer, backend=backend)
    queries = unit(3)
    dense_scores, dense_rows = index.search(queries, 5)
    cosines = {
        (n, index[int(row)].id): score
        for n in range(3)
        for score, row in zip(dense_scores[n], dense_rows[n], strict=True)
    }
    texts = ["harbour", "zürich straße", "nothing known"]
    scores, rows = index.search(queries, 5, hybrid=0.5, texts=texts, fusion=fusion)
    assert ids(index, index.search(queries, 2, hybrid=1.0, texts=texts, fusion=fusion)[1]) == [
        ["harbour", "kite"],
        ["zuerich"],
        [],
    ]
    for n, (of_scores, of_rows) in enumerate(zip(scores, rows, strict=True)):
        expected = [cosines[n, index[int(row)].id] for row in of_rows]
        if fusion == "rrf":
            np.testing.assert_allclose(of_scores, expected, atol=1e-6)
        else:
            assert (of_scores <= np.asarray(expected) + 1e-6).all() and (np.diff(of_scores) <= 0).all()
    np.testing.assert_array_equal(rows[2], dense_rows[2])  # no word is known: as the embedding has it
    plain = index.search(queries, 5, hybrid=0.0, texts=texts, fusion=fusion)
    np.testing.assert_array_equal(plain[1], dense_rows)


def test_sums_over_an_index(model: Any, tokenizer: Any) -> None:
    many = [*CORPUS, *(Passage(f"p{n}", "", f"Item {n} of tin.") for n in range(400))]
    index = PassageIndex.build(model, tokenizer, many, show_progress=False)
    words = WordIndex.build(many)
    texts = ["harbour of tin", "item 17", "Tiber", "unknown"]
    cosines, places = index.search(unit(4), 405)
    scores, rows = index.search(unit(4), 20, hybrid=0.3, texts=texts, fusion="weighted")
    for query, text in enumerate(texts):
        of_words = words.scores(text)[places[query]]
        lacking = 1 - of_words / of_words.max() if of_words.any() else 0
        expected = cosines[query] - 0.3 / 0.7 * lacking
        order = np.argsort(-expected, kind="stable")[:20]
        np.testing.assert_array_equal(rows[query], places[query][order])
        np.testing.assert_allclose(scores[query], expected[order], atol=1e-6)


def test_words_reach_what_no_embedding_ranks(model: Any, tokenizer: Any) -> None:
    many = [*CORPUS, *(Passage(f"p{n}", "", f"Item {n}.") for n in range(400))]
    index = PassageIndex.build(model, tokenizer, many, show_progress=False)
    query = index.search(unit(1), 405)[1][0]
    last = index[int(query[-1])]
    scores, rows = index.search(unit(1), 1, hybrid=1.0, texts=[f"{last.title} {last.text}"])
    assert ids(index, rows) == [[last.id]]
    np.testing.assert_allclose(scores[0, 0], index.search(unit(1), 405)[0][0, -1], atol=1e-6)


def test_a_filter_holds_for_both(model: Any, tokenizer: Any) -> None:
    index = build(model, tokenizer)
    _, rows = index.search(unit(1), 5, filter={"lang": "en"}, hybrid=0.9, texts=["harbour straße"])
    assert set(ids(index, rows)[0]) == {"rome", "kite"}
    hits = index.search_text("harbour", 5, filter={"lang": "de"}, hybrid=1.0)
    assert [hit.id for hit in hits] == ["harbour"]


def test_it_is_saved_with_the_index(model: Any, tokenizer: Any, tmp_path: Path, caplog: Any) -> None:
    index = build(model, tokenizer)
    index.save(tmp_path)
    assert not (tmp_path / "bm25.safetensors").exists()
    expected = index.search(unit(2), 3, hybrid=0.6, texts=["harbour", "Tiber"])
    index.save(tmp_path)
    loaded = PassageIndex.load(tmp_path)
    with caplog.at_level("INFO"):
        for ours, theirs in zip(
            loaded.search(unit(2), 3, hybrid=0.6, texts=["harbour", "Tiber"]), expected, strict=True
        ):
            np.testing.assert_array_equal(ours, theirs)
    assert "reading the words" not in caplog.text
    loaded.update(model, tokenizer, [{"id": "new", "title": "", "text": "Zeppelins."}], show_progress=False)
    assert [hit.id for hit in loaded.search_text("zeppelins", 1, model, tokenizer, hybrid=1.0)] == ["new"]
    build(model, tokenizer).save(tmp_path)  # without words: the old file goes
    assert not (tmp_path / "bm25.safetensors").exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda arrays: arrays.update(indices=arrays["indices"] + 5),
        lambda arrays: arrays.update(indices=arrays["indices"] - 1),
        lambda arrays: arrays.update(indptr=arrays["indptr"][::-1].copy()),
        lambda arrays: arrays.update(data=arrays["data"][:-1]),
        lambda arrays: arrays.update(data=np.full_like(arrays["data"], np.nan)),
        lambda arrays: arrays.update(data=arrays["data"].astype(np.float64)),
        lambda arrays: arrays.update(vocabulary=np.frombuffer(b"[1]", np.uint8)),
        lambda arrays: arrays.update(vocabulary=np.frombuffer(json.dumps({"a": 10**6}).encode(), np.uint8)),
        lambda arrays: arrays.pop("indptr"),
    ],
)
def test_a_strangers_file_is_checked(change: Any, tmp_path: Path) -> None:
    path = tmp_path / "bm25.safetensors"
    WordIndex.build(CORPUS).write(path)
    words = WordIndex.read(path, len(CORPUS))
    assert words.best(words.scores("harbour"), 2).tolist() == [3, 1]
    arrays = dict(load_file(path))
    change(arrays)
    save_file(arrays, path)
    with pytest.raises(ValueError, match="is no readable index of words"):
        WordIndex.read(path, len(CORPUS))


@pytest.mark.parametrize("fusion", ["rrf", "weighted"])
@pytest.mark.parametrize("hybrid", [0.0, 0.3, 1.0])
def test_passages_are_left_out(model: Any, tokenizer: Any, hybrid: float, fusion: Any) -> None:
    """As a filter does, and neither as near ones nor for their words."""
    corpus = [Passage(p.id, p.title, p.text, (), {"left": p.id in ("harbour", "rome")}) for p in CORPUS]
    index = PassageIndex.build(model, tokenizer, corpus, show_progress=False)
    texts = ["harbour", "the Tiber", "straße am harbour"]
    left_out = [{"harbour", "rome"}, ["rome", "harbour"], ("harbour", "no such id", "rome")]
    options: dict[str, Any] = {"hybrid": hybrid, "texts": texts, "fusion": fusion}
    scores, rows = index.search(unit(3), 2, without=left_out, **options)
    expected_scores, expected_rows = index.search(unit(3), 2, filter={"left": False}, **options)
    assert ids(index, rows) == ids(index, expected_rows)
    np.testing.assert_allclose(scores, expected_scores, atol=1e-6)
    # Each query has its own.
    rows = index.search(unit(3), 5, without=[["kite"], [], ["rome"]])[1]
    whole = ids(index, index.search(unit(3), 5)[1])
    assert ids(index, rows) == [[i for i in whole[0] if i != "kite"], whole[1], [i for i in whole[2] if i != "rome"]]
    with pytest.raises(ValueError, match="without has 1 entries for 3 queries"):
        index.search(unit(3), 2, without=[["rome"]])


def test_a_checkpoint_that_searches_by_words(tokenizer: Any, tmp_path: Path) -> None:
    model = make_model(tokenizer, hybrid=1.0, fusion="weighted")
    index = build(model, tokenizer)
    assert index.has_words and [hit.id for hit in index.search_text("harbour", 2)] == ["harbour", "kite"]
    assert len(index.search_text("harbour", 5, hybrid=0.0)) == 5
    index.save(tmp_path)
    loaded = PassageIndex.load(tmp_path)
    assert loaded.has_words
    loaded.update(model, tokenizer, [{"id": "new", "title": "", "text": "Zeppelins."}], show_progress=False)
    loaded.save(tmp_path)
    assert [hit.id for hit in PassageIndex.load(tmp_path).search_text("zeppelins", 5, model, tokenizer)] == ["new"]
    # An index without a search by words stays one.
    plain = build(model, tokenizer, words=False)
    assert not plain.has_words and len(plain.search_text("harbour", 5)) == 5
    assert plain.add_words().has_words and len(plain.search_text("harbour", 5)) == 2
    plain_model = make_model(tokenizer)
    assert not build(plain_model, tokenizer).has_words and build(plain_model, tokenizer, words=True).has_words


def test_words_in_a_database(model: Any, tokenizer: Any) -> None:
    with pytest.raises(ValueError, match="words=True: .* is searched by embedding only"):
        build(model, tokenizer, words=True, backend="qdrant://localhost:1/films")


def test_wrong_arguments(model: Any, tokenizer: Any) -> None:
    index = build(model, tokenizer)
    with pytest.raises(ValueError, match="needs the text of each of the 2 queries"):
        index.search(unit(2), 1, hybrid=0.5)
    with pytest.raises(ValueError, match=r"hybrid=1\.5 must be"):
        index.search(unit(1), 1, hybrid=1.5, texts=["x"])
    with pytest.raises(ValueError, match="fusion='mean' is unknown"):
        index.search(unit(1), 1, hybrid=0.5, texts=["x"], fusion="mean")  # type: ignore[arg-type]


@pytest.mark.parametrize("precision", ["float16", "int8", "binary"])
def test_precisions_of_faiss_find_the_same(precision: str) -> None:
    vectors = np.random.default_rng(0).normal(size=(3000, 128)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    queries = vectors[:100] + 0.05 * np.random.default_rng(1).normal(size=(100, 128)).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    backend = make_backend("faiss", precision=precision)
    backend.check(128, 3000)
    backend.build(vectors)
    scores, rows = backend.search(torch.from_numpy(queries), 1)
    expected = queries @ vectors.T
    assert (rows[:, 0] == expected.argmax(1)).mean() >= 0.97
    np.testing.assert_allclose(scores[:, 0], expected.max(1), atol=0.02)
