"""Hashes sorted on disk: equal to sorting in memory, in one bucket and in many."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from onegen_hf import Passage
from onegen_hf.index.shards import sorted_hashes
from onegen_hf.index.shards.sorted_hashes import HashTable, repeated, sort_hashes
from onegen_hf.index.text_hash import as_halves, hash_id, hash_text


def random_hashes(count: int, distinct: int) -> np.ndarray:
    return as_halves([hash_id(str(number)) for number in np.random.default_rng(0).integers(0, distinct, count)])


@pytest.mark.parametrize(("count", "distinct"), [(1, 1), (2, 1), (500, 200), (500, 10**6), (5000, 4000)])
@pytest.mark.parametrize("per_bucket", [8, 2**18])
def test_equal_to_sorting_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, distinct: int, per_bucket: int
) -> None:
    monkeypatch.setattr(sorted_hashes, "_RECORDS_PER_BUCKET", per_bucket)
    hashes = random_hashes(count, distinct)
    path = tmp_path / "hashes"
    sort_hashes(np.array_split(hashes, 7), count, path)
    assert [file.name for file in tmp_path.iterdir()] == ["hashes"]
    first: dict[bytes, int] = {}
    later = {number for number, value in enumerate(hashes) if first.setdefault(value.tobytes(), number) != number}
    pairs = [(a, b) for block in repeated(path) for a, b in zip(*block, strict=True)]
    assert {a for a, _ in pairs} == later
    assert all(b < a and (hashes[a] == hashes[b]).all() for a, b in pairs)
    table = HashTable(path)
    np.testing.assert_array_equal(table.find(hashes), [first[value.tobytes()] for value in hashes])
    assert (table.find(as_halves([hash_id("unknown"), hash_id("too")])) == -1).all()


def test_none(tmp_path: Path) -> None:
    sort_hashes([], 0, tmp_path / "hashes")
    assert list(repeated(tmp_path / "hashes")) == []
    assert HashTable(tmp_path / "hashes").find(random_hashes(3, 3)).tolist() == [-1, -1, -1]


def test_what_a_text_hash_depends_on() -> None:
    passage = Passage("a", "Title", "One. Two.", ("One.", "Two."), {"year": 1})
    assert hash_text(passage) == hash_text(Passage("b", "Title", "One. Two.", ("One.", "Two.")))
    others = [
        Passage("a", "", "TitleOne. Two.", ("One.", "Two.")),
        Passage("a", "Title", "One. Two.", ("One. Two.",)),
        Passage("a", "Title", "One. Two."),
        Passage("a", "Titl", "eOne. Two.", ("One.", "Two.")),
    ]
    assert len({hash_text(other) for other in [passage, *others]}) == 5
