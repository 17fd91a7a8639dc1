"""Indexes of strangers: whatever is changed in a file and sealed again, the process lives and says what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.index_fixtures import HIDDEN, make_corpus, make_model, make_tokenizer
from support.index_mutations import Survivor, mutations

from onegen_hf.index import ModelFingerprint, PassageIndex
from onegen_hf.index.encode import EncodedCorpus

KINDS = [
    {"backend": "torch"}, {"factory": "Flat"}, {"factory": "HNSW8"}, {"factory": "IVF4,Flat"}, {"factory": "SQ8"},
    {"factory": "IVF4,SQ8"}, {"factory": "PQ8x4"}, {"factory": "IVF4,PQ8x4"}, {"factory": "PCA16,L2norm,Flat"},
    {"factory": "IVF4_HNSW8,Flat"}, {"factory": "SQ8,RFlat"},
]  # fmt: skip
COUNT = 60
# Where values lie rather than what says how to read them. Other values are another index, which only a signature
# could tell; that it is no valid one is seen where it can be seen.
VALUES = ("index.faiss", "embeddings.safetensors", "index.json")


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder, tokenizer = tmp_path_factory.mktemp("originals"), make_tokenizer()
    fingerprint = ModelFingerprint.of(make_model(tokenizer), tokenizer)
    vectors = np.random.default_rng(1).normal(size=(COUNT, HIDDEN)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    encoded = EncodedCorpus(vectors, np.arange(COUNT), np.zeros(COUNT, np.int64), 0)
    for number, options in enumerate(KINDS):
        index = PassageIndex.from_encoded(make_corpus(COUNT), encoded, fingerprint, **options)
        index.save(folder / str(number))
    return sorted(folder.iterdir())


def verdict(name: str, outcome: dict[str, Any], expected: dict[str, Any]) -> str | None:
    """What is wrong with an outcome, if anything."""
    if "refused" in outcome:
        return None
    if "signal" in outcome or "raw" in outcome:
        return str(outcome)
    rows, scores = np.asarray(outcome["rows"]), np.asarray(outcome["scores"])
    if outcome["passages"] != expected["passages"]:
        return "other passages"
    if not ((rows >= -1) & (rows < COUNT)).all() or not (np.isfinite(scores) | (rows == -1)).all():
        return f"rows {rows.tolist()} with scores {scores.tolist()}"
    if name not in VALUES and outcome != expected:
        return "other results"
    return None


def run(originals: list[Path], number: int, folder: Path, seed: int) -> tuple[list[str], int]:
    survivor, wrong, refused = Survivor(), [], 0
    expected = {original: survivor.open(original) for original in originals}
    assert all("rows" in outcome for outcome in expected.values()), expected
    for place, (original, name, copy) in enumerate(mutations(originals, number, folder, seed)):
        outcome = survivor.open(copy)
        refused += "refused" in outcome
        problem = verdict(name, outcome, expected[original])
        if problem is not None:
            wrong.append(f"mutation {place} of {name} of {KINDS[int(original.name)]}: {problem[:300]}")
    survivor.close()
    return wrong, refused


def test_a_hundred_mutations(originals: list[Path], tmp_path: Path) -> None:
    wrong, refused = run(originals, 110, tmp_path, seed=0)
    assert not wrong, "\n".join(wrong)
    assert refused > 60


@pytest.mark.slow
def test_two_thousand_mutations(originals: list[Path], tmp_path: Path) -> None:
    wrong, _ = run(originals, 2000, tmp_path, seed=1)
    assert not wrong, "\n".join(wrong)
