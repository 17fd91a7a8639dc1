"""Hard negatives with similar titles, and samples that prefer rare kinds."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from builder_records import record, write_lines
from hypothesis import given
from hypothesis import strategies as st

from data_builders.documents import DocumentStore
from data_builders.multi_hop.builder import MultiHop, build_splits, main
from data_builders.sampling import balanced_sample
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
    _, plain, _ = build_splits({"train": path}, num_negatives=1)
    _, more, _ = build_splits({"train": path}, num_negatives=1, num_title_negatives=5)
    for hop in range(2):
        before, after = plain["train"][0]["negatives"][hop], more["train"][0]["negatives"][hop]
        assert after[: len(before)] == before
        assert len(after) == len(set(after)) == 4  # six passages less two gold ones
        assert not {"The Tin Boat", "Ada Moll"} & set(after)


def test_the_builder_and_the_command_know_them(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", [record(), record(id="r2"), record(id="r3")])
    builder = MultiHop(
        config_name="examples", data_files={"train": str(path)}, num_negatives=0, num_title_negatives=1,
        cache_dir=str(tmp_path / "cache"),
    )  # fmt: skip
    builder.download_and_prepare()
    assert builder.as_dataset(split="train")[0]["negatives"][0] == ["The Red Kite"]
    options = ["--num-negatives", "0", "--num-title-negatives", "1", "--balanced-train", "2"]
    main(["--examples", str(path), "--out", str(tmp_path / "out"), *options])
    from datasets import load_dataset

    rows = load_dataset(str(tmp_path / "out"), "examples", split="train")
    assert len(rows) == 2
    assert rows[0]["negatives"][0] == ["The Red Kite"]


def examples(counts: dict[str, int]) -> list[dict[str, Any]]:
    return [
        {"id": f"{name}-{n}", "meta": json.dumps({"template": name})}
        for name, count in counts.items()
        for n in range(count)
    ]


def test_shares_go_with_the_square_root() -> None:
    drawn = balanced_sample(examples({"a": 400, "b": 100, "c": 4}), 140)
    counts = Counter(json.loads(row["meta"])["template"] for row in drawn)
    assert counts == {"c": 4, "b": 45, "a": 91}  # 2 : 10 : 20 in parts of the root, c has no more than four


@given(
    counts=st.dictionaries(st.sampled_from("abcde"), st.integers(1, 30)), size=st.integers(0, 120), seed=st.integers()
)
def test_a_sample_is_a_sample(counts: dict[str, int], size: int, seed: int) -> None:
    rows = examples(counts)
    drawn = balanced_sample(rows, size, seed)
    ids = [row["id"] for row in drawn]
    assert len(ids) == len(set(ids)) == min(size, len(rows))
    assert set(ids) <= {row["id"] for row in rows}
    assert drawn == balanced_sample(rows, size, seed)


def test_a_negative_size() -> None:
    with pytest.raises(ValueError, match="must not be negative"):
        balanced_sample([], -1)
