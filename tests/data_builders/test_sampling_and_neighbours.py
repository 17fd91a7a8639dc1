"""Hard negatives with similar titles, and samples that prefer rare kinds."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.builder_records import build, record, write_lines

from data_builders.documents import DocumentStore
from data_builders.multi_hop.converter import MultiHopConverter
from data_builders.sampling import balanced_rows, kind_of
from data_builders.title_neighbours import TitleNeighbours

TITLES = ["Safe (2012 film)", "Ada Moll", "Safe Haven (film)", "Safeguard (magazine)", "Fern Bay", "Ada Mole", ""]


def store_of(titles: list[str]) -> DocumentStore:
    store = DocumentStore()
    for number, title in enumerate(titles):
        store.add(title, [f"Text {number}."])
    return store


def test_similar_titles_come_first_and_never_the_document_itself() -> None:
    neighbours = TitleNeighbours(store_of(TITLES), 2)
    assert neighbours("Safe (2012 film)") == ["Safe Haven (film)", "Safeguard (magazine)"]
    assert neighbours("Ada Moll")[0] == "Ada Mole"
    assert all(title not in neighbours(title) for title in TITLES)


@pytest.mark.parametrize("titles", [["One"], ["One", "Two"], TITLES])
def test_a_small_store_has_fewer(titles: list[str]) -> None:
    neighbours = TitleNeighbours(store_of(titles), 99)
    for title in titles:
        assert sorted(neighbours(title)) == sorted(set(titles) - {title})
    assert TitleNeighbours(store_of(titles), 0)(titles[0]) == []
    with pytest.raises(ValueError, match="must not be negative"):
        TitleNeighbours(store_of(titles), -1)


def test_they_join_the_negatives_of_a_record(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", [record()])
    plain = build(tmp_path / "plain", path, converter=MultiHopConverter(num_negatives=1))
    more = build(tmp_path / "more", path, converter=MultiHopConverter(num_negatives=1, num_title_negatives=5))
    for hop in range(2):
        before, after = plain.examples[0]["negatives"][hop], more.examples[0]["negatives"][hop]
        assert after[: len(before)] == before
        assert len(after) == len(set(after)) == 4  # six passages less two gold ones
        assert not {"The Tin Boat", "Ada Moll"} & set(after)


def test_a_sample_adds_up_and_does_not_depend_on_what_was_dropped(tmp_path: Path) -> None:
    rows = [record(id=f"r{n}", type="comparison" if n % 10 == 0 else "compositional") for n in range(40)]
    path = write_lines(tmp_path / "a.jsonl", [*rows[:7], record(answer=None, answer_aliases=None), *rows[7:]])
    built = build(tmp_path / "out", path, sample={"train": 12})
    assert built.counts["dropped"] == {"no_answer": 1, "not_sampled": 28}
    assert built.counts["rows"] == 41 and built.counts["examples"] == len(built.examples) == 12
    assert built.counts["meta"]["type"] == {"comparison": 3, "compositional": 9}  # not 1 and 11
    kinds = [str(row["type"]) for row in rows]
    assert [row["id"] for row in built.examples] == [f"r{n}" for n in balanced_rows(kinds, 12)]
    assert build(tmp_path / "out", path, sample={"train": 12}, seed=1).examples != built.examples
    for sample, message in (({"dev": 3}, "does not have"), ({"train": 0}, "must be at least 1, got 0")):
        with pytest.raises(ValueError, match=message):
            build(tmp_path / "out", path, sample=sample)


def kinds_of(counts: dict[str, int]) -> list[str]:
    return [name for name, count in counts.items() for _ in range(count)]


def test_shares_go_with_the_square_root() -> None:
    kinds = kinds_of({"a": 400, "b": 100, "c": 4})
    drawn = Counter(kinds[row] for row in balanced_rows(kinds, 140))
    assert drawn == {"c": 4, "b": 45, "a": 91}  # 2 : 10 : 20 in parts of the root, c has no more than four


@given(
    counts=st.dictionaries(st.sampled_from("abcde"), st.integers(1, 30)), size=st.integers(0, 120), seed=st.integers()
)
def test_a_sample_is_a_sample(counts: dict[str, int], size: int, seed: int) -> None:
    kinds = kinds_of(counts)
    drawn = balanced_rows(kinds, size, seed)
    assert len(drawn) == len(set(drawn)) == min(size, len(kinds))
    assert set(drawn) <= set(range(len(kinds)))
    assert drawn == balanced_rows(kinds, size, seed)


def test_the_kind_is_the_template_or_the_type() -> None:
    assert kind_of({"meta": json.dumps({"template": "a", "type": "b"})}) == "a"
    assert kind_of({"meta": json.dumps({"type": "b"})}) == "b"


def test_a_negative_size() -> None:
    with pytest.raises(ValueError, match="must not be negative"):
        balanced_rows([], -1)
