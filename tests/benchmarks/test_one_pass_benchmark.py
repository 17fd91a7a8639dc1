"""The program runs from its options to its result and its plot."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import one_pass
from benchmarks.alternatives import ALTERNATIVES
from benchmarks.one_pass import Cell, FinishedCells, cells_of, panels, parse
from onegen_hf.cli.main import main


def test_settings_are_two_lines_and_a_corner() -> None:
    options = parse("--lengths 32 1024 --hops 1 3 --at-hops 2 --at-length 64 --batch-sizes 8".split())
    pairs = [(32, 2), (64, 1), (64, 3), (1024, 2), (1024, 3)]
    assert cells_of(options) == [Cell(length, hops, 8) for length, hops in pairs]


def test_long_batches_can_be_left_out() -> None:
    options = parse("--lengths 32 1024 --hops 1 --at-hops 1 --at-length 32 --max-batch-tokens 1024".split())
    assert cells_of(options) == [Cell(32, 1, 1), Cell(1024, 1, 1), Cell(32, 1, 8)]


def test_panels_show_time_against_length_and_hops() -> None:
    options = parse("--lengths 32 64 --hops 1 2 --at-hops 1 --at-length 64 --batch-sizes 1".split())
    results = [
        {"prompt_tokens": cell.prompt_tokens, "hops": cell.hops, "batch_size": 1, "seconds": {"one_pass": [1, 2, 3]}}
        for cell in cells_of(options)
    ]
    by_length, by_hops = panels(results, options)
    assert list(by_length.series["one pass"]) == [32, 64]
    assert list(by_hops.series["one pass"]) == [1, 2]
    assert (by_length.x_label, by_hops.x_label) == ("prompt tokens", "hops")


def test_an_interrupted_run_goes_on_with_the_same_settings_only(tmp_path: Path) -> None:
    path = tmp_path / "one_pass.partial.json"
    cell, other = Cell(32, 1, 1), Cell(32, 2, 1)
    result = {"prompt_tokens": 32, "hops": 1, "batch_size": 1, "seconds": {"one_pass": [1, 2, 3]}}
    FinishedCells(path, {"repeats": 3}).add(result)
    again = FinishedCells(path, {"repeats": 3})
    assert again.get(cell) == result and again.get(other) is None
    assert FinishedCells(path, {"repeats": 5}).get(cell) is None
    again.remove()
    assert FinishedCells(path, {"repeats": 3}).get(cell) is None


@pytest.mark.slow
def test_quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(one_pass, "RESULTS", tmp_path)
    main(["benchmark", "one_pass", "--quick"])
    result = json.loads((tmp_path / "one_pass_quick.json").read_text(encoding="utf-8"))
    assert result["same_ids"] == {"two_pass": "2 of 2", "re_reading": "2 of 2"}
    peaks = result["peak_mib"]["batch 2"]
    assert (peaks["prompt_tokens"], peaks["hops"], set(ALTERNATIVES) - set(peaks)) == (256, 2, set())
    assert [(setting["prompt_tokens"], setting["hops"]) for setting in result["settings"]] == [
        (32, 2),
        (256, 1),
        (256, 2),
    ]
    for setting in result["settings"]:
        low, middle, high = setting["times_one_pass"]["re_reading"]
        assert 0 < low <= middle <= high
        tokens = setting["forwarded_tokens"]
        assert tokens["re_reading"]["language_model"] > tokens["one_pass"]["language_model"]
    assert (tmp_path / "one_pass_quick.svg").is_file()
