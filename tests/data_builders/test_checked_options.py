"""Options of the builders: their types and bounds, before a source is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from data_builders.build import build_repository
from data_builders.facts.builder import write_facts
from data_builders.hard_negatives import Bm25Miner
from data_builders.multi_hop.converter import MultiHopConverter
from data_builders.own.converter import OwnConverter


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("limit", "x", "`limit` must be a whole number or None, got 'x'"),
        ("limit", True, "`limit` must be a whole number or None, got True"),
        ("limit", 0, "`limit` must be at least 1, got 0"),
        ("seed", "x", "`seed` must be a whole number, got 'x'"),
        ("sample", {"train": "x"}, r"`sample\['train'\]` must be a whole number, got 'x'"),
        ("sample", {"train": 0}, r"`sample\['train'\]` must be at least 1, got 0"),
        ("bytes_per_shard", -1, "`bytes_per_shard` must be at least 1, got -1"),
        ("license", 5, "`license` must be text or None, got 5"),
        ("miner", 5, "`miner` must be a function, .* got 5"),
        ("converter", 5, "`converter` must be a Converter .* got 5"),
        ("examples", "a.jsonl", "`examples` must map splits to sources, .* got 'a.jsonl'"),
        ("out_dir", "", "`out_dir` is empty; name a folder"),
        ("out_dir", 5, "`out_dir` must be a folder, got 5"),
    ],
)
def test_options_of_a_build(tmp_path: Path, name: str, value: Any, message: str) -> None:
    options: dict[str, Any] = {
        "converter": OwnConverter(), "out_dir": tmp_path / "out", "examples": {"train": "missing.jsonl"}, name: value,
    }  # fmt: skip
    with pytest.raises((TypeError, ValueError), match=message):
        build_repository(**options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MultiHopConverter(num_negatives="x"), "`num_negatives` must be a whole number, got 'x'"),  # type: ignore
        (lambda: OwnConverter(max_chars=1.5), "`max_chars` must be a whole number, got 1.5"),  # type: ignore[arg-type]
        (lambda: OwnConverter(query_token=None), "`query_token` must be text, got None"),  # type: ignore[arg-type]
        (lambda: Bm25Miner(k1=float("nan")), "`k1` must be finite, got nan"),
        (lambda: Bm25Miner(depth="x"), "`depth` must be a whole number, got 'x'"),  # type: ignore[arg-type]
    ],
)
def test_options_of_converters_and_miners(make: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        make()


def test_more_facts_than_there_are(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="train_size=999999999 must be from 1 to 100000 questions"):
        write_facts(tmp_path / "facts", train_size=999_999_999)
