"""Rows of numbers by text."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

from onegen_hf.training.teacher.keyed_rows import KeyedRows, load_tables, save_tables, text_keys

TEXTS = ["Tin Boat", "", "Ada Moll", "Red Kite"]


def table(texts: list[str]) -> KeyedRows:
    """Each text with its length and 1."""
    rows = torch.tensor([[float(len(text)), 1.0] for text in texts])
    return KeyedRows.empty().extended(text_keys(texts), lambda places: rows[places])


def test_lookup() -> None:
    found = table(TEXTS)[text_keys(["Ada Moll", "unknown", None, "", "Ada Moll"])]
    expected = torch.tensor([[8.0, 1.0], [torch.nan] * 2, [torch.nan] * 2, [0.0, 1.0], [8.0, 1.0]])
    torch.testing.assert_close(found, expected, equal_nan=True)
    assert table(TEXTS)[text_keys([])].shape == (0, 2)
    assert KeyedRows.empty()[text_keys(["x"])].shape == (1, 0)


def test_extending_computes_what_is_missing_once() -> None:
    asked: list[int] = []
    texts = ["Old Mill", "Ada Moll", "Old Mill", "Grey Stone"]

    def compute(places: list[int]) -> torch.Tensor:
        asked.extend(places)
        return torch.tensor([[float(len(texts[place])), 1.0] for place in places])

    extended = table(TEXTS).extended(text_keys(texts), compute)
    assert asked == [0, 3]
    everything = [*TEXTS, *texts]
    assert torch.equal(extended[text_keys(everything)], table(everything)[text_keys(everything)])
    assert (extended.keys[1:] > extended.keys[:-1]).all()
    assert extended.extended(text_keys(everything), compute) is extended
    assert asked == [0, 3]


def test_files(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "folder" / "tables.safetensors"
    assert load_tables(file) == {}
    save_tables(file, {"a": table(TEXTS), "b.c": table(TEXTS[:1])}, {"weights": "x"})
    for about in (None, {"weights": "x"}):
        loaded = load_tables(file, about)
        assert sorted(loaded) == ["a", "b.c"]
        assert torch.equal(loaded["a"].keys, table(TEXTS).keys) and torch.equal(loaded["a"].rows, table(TEXTS).rows)
    with caplog.at_level(logging.WARNING):
        assert load_tables(file, {"weights": "y"}) == {}
        file.write_bytes(file.read_bytes()[:100])
        assert load_tables(file) == {}
    assert [record.getMessage().partition(" ")[2][:22] for record in caplog.records] == [
        "holds the scores of an", "cannot be read (Error "
    ]  # fmt: skip
