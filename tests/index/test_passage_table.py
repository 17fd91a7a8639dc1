"""What a table of passages costs before a passage is asked for."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from onegen_hf import Passage
from onegen_hf.index.passage_table import PassageTable, write_passages

NUMBER = 1200
TEXT = "The boat is made of tin. " * 40


@pytest.fixture
def path(tmp_path: Path) -> Path:
    passages = [Passage(f"p{row}", f"Title {row}", f"{row} {TEXT}") for row in range(NUMBER)]
    write_passages(passages, np.arange(1, NUMBER + 1), tmp_path / "passages.parquet")
    return tmp_path / "passages.parquet"


def test_the_footer_holds_ids_and_no_texts(path: Path) -> None:
    """It is read as a whole; a million passages have 2,000 groups."""
    metadata = pq.ParquetFile(path).metadata
    assert metadata.num_row_groups == 3
    assert metadata.serialized_size < 3 * len(TEXT)
    assert metadata.row_group(1).column(0).statistics.min == "p1000"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_the_file_is_not_mapped(path: Path) -> None:
    table = PassageTable(path)
    assert table.counts().tolist() == list(range(1, NUMBER + 1))
    assert table[700].text == f"700 {TEXT}"
    assert path.name not in Path("/proc/self/maps").read_text()


def test_ids_are_an_arrow_array(path: Path) -> None:
    ids = PassageTable(path).ids
    assert isinstance(ids, pa.LargeStringArray)
    assert ids.to_pylist() == [f"p{row}" for row in range(NUMBER)]


def rewritten(path: Path, meta: list[str | None] | None) -> Path:
    """The file with another column `meta`, or none, as earlier releases wrote it."""
    table = pq.read_table(path).drop_columns(["meta"])
    if meta is not None:
        table = table.append_column("meta", pa.array(meta, pa.string()))
    pq.write_table(table, path)
    return path


def test_a_file_of_an_earlier_release_has_no_meta(path: Path) -> None:
    table = PassageTable(rewritten(path, None))
    assert table[5].meta is None and table[5].text == f"5 {TEXT}"


@pytest.mark.parametrize("meta", ["{", "NaN", "[" * 200_000], ids=["cut", "nan", "deep"])
def test_a_meta_that_is_no_json_is_refused_by_name(path: Path, meta: str) -> None:
    table = PassageTable(rewritten(path, [None, meta, *[None] * (NUMBER - 2)]))
    assert table[0].meta is None
    with pytest.raises(ValueError, match="is damaged .*meta of passage 1"):
        table[1]
