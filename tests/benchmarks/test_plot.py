"""Plots are SVG files that hold what was given, and the same numbers give the same file."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks.plot import Panel, plot_bars, plot_lines


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return tmp_path / "results"


def texts(path: Path) -> set[str]:
    return {"".join(element.itertext()).strip() for element in ElementTree.parse(path).iter() if "text" in element.tag}


def test_lines(results: Path) -> None:
    ours = {32: (0.9, 1.0, 1.2), 4096: (7.0, 8.0, 9.5)}
    panel = Panel("Length", "tokens", "seconds", {"ours": ours, "theirs": {32: 2, 4096: 30}}, log_x=True, log_y=True)
    path = plot_lines(results / "speed.svg", panel, Panel("Hops", "hops", "seconds", {"ours": {1: 1.0, 2: 2.0}}))
    assert path == results / "speed.svg"
    assert {"Length", "tokens", "seconds", "ours", "theirs", "32", "4,096", "Hops"} <= texts(path)


def test_bars_may_lack_a_place(results: Path) -> None:
    panel = Panel("Rate", "batch", "tokens/s", {"plain": {"1": (1, 2, 3), "8": 5}, "int8": {"8": 9}})
    assert {"Rate", "plain", "int8", "1", "8"} <= texts(plot_bars(results / "rate.svg", panel))


def test_many_bars_have_colours_of_their_own(results: Path) -> None:
    panel = Panel("Rate", "", "F1", {f"run {number}": {"": 1.0} for number in range(12)})
    path = plot_bars(results / "many.svg", panel)
    colours = set(re.findall(r"fill: (#\w{6})", path.read_text())) - {"#ffffff", "#000000"}
    assert len(colours) == 12


def test_the_same_numbers_give_the_same_file(results: Path) -> None:
    panel = Panel("Rate", "batch", "tokens/s", {"plain": {1: 2.0, 8: 5.0}})
    before = plot_lines(results / "rate.svg", panel).read_bytes()
    assert plot_lines(results / "rate.svg", panel).read_bytes() == before
    changed = Panel("Rate", "batch", "tokens/s", {"plain": {1: 2.0, 8: 5.5}})
    assert plot_lines(results / "rate.svg", changed).read_bytes() != before


@pytest.mark.parametrize("panels", [(), (Panel("Rate", "x", "y", {}),)], ids=["no panel", "no series"])
def test_nothing_to_draw_is_refused(results: Path, panels: tuple[Panel, ...]) -> None:
    with pytest.raises(ValueError, match="at least one panel, and each at least one series"):
        plot_lines(results / "rate.svg", *panels)


def test_without_matplotlib_the_extra_is_named(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"onegen-hf\[benchmark\]"):
        plot_bars(results / "rate.svg", Panel("Rate", "batch", "tokens/s", {"plain": {"1": 2.0}}))
