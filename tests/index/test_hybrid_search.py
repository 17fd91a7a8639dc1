"""A search by words beside the search by embedding: fused, filtered, saved, and never trusted from a stranger."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from support.index_fixtures import HIDDEN, make_model

from onegen_hf import Passage, PassageIndex
from onegen_hf.index.backends import make_backend
from onegen_hf.index.words import RANK_OFFSET, WordIndex, fused

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
    found = WordIndex.build(CORPUS).search(text, 5).tolist()
    assert found[: len(expected)] == expected and (expected or not found)


def test_ranks_are_fused() -> None:
    near, words = np.asarray([4, 2, 7]), np.asarray([7, 9])
    scores = {4: 0.7 / (RANK_OFFSET + 1), 2: 0.7 / (RANK_OFFSET + 2), 9: 0.3 / (RANK_OFFSET + 2)}
    scores[7] = 0.7 / (RANK_OFFSET + 3) + 0.3 / (RANK_OFFSET + 1)
    assert fused([(0.7, near), (0.3, words)], 9) == sorted(scores, key=lambda n: -scores[n])
    assert fused([(1.0, near), (0.0, words)], 9) == [4, 2, 7]
    assert fused([(0.0, near), (1.0, words)], 1) == [7]


@pytest.mark.parametrize("backend", ["faiss", "torch"])
@pytest.mark.parametrize("granularity", ["passage", "sentence"])
def test_scores_stay_cosines(tokenizer: Any, backend: str, granularity: str) -> None:
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
    scores, rows = index.search(queries, 5, hybrid=0.5, texts=texts)
    assert ids(index, index.search(queries, 2, hybrid=1.0, texts=texts)[1]) == [["harbour", "kite"], ["zuerich"], []]
    for n, (of_scores, of_rows) in enumerate(zip(scores, rows, strict=True)):
        expected = [cosines[n, index[int(row)].id] for row in of_rows]
        np.testing.assert_allclose(of_scores, expected, atol=1e-6)
    np.testing.assert_array_equal(rows[2], dense_rows[2])  # no word is known: as the embedding has it
    plain = index.search(queries, 5, hybrid=0.0, texts=texts)
    np.testing.assert_array_equal(plain[1], dense_rows)


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
    assert WordIndex.read(path, len(CORPUS)).search("harbour", 2).tolist() == [3, 1]
    arrays = dict(load_file(path))
    change(arrays)
    save_file(arrays, path)
    with pytest.raises(ValueError, match="is no readable index of words"):
        WordIndex.read(path, len(CORPUS))


def test_wrong_arguments(model: Any, tokenizer: Any) -> None:
    index = build(model, tokenizer)
    with pytest.raises(ValueError, match="needs the text of each of the 2 queries"):
        index.search(unit(2), 1, hybrid=0.5)
    with pytest.raises(ValueError, match=r"hybrid=1\.5 must be"):
        index.search(unit(1), 1, hybrid=1.5, texts=["x"])


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
