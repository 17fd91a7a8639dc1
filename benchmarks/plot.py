"""Plots of measurements: lines with their spread, and bars, as SVG files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onegen_hf.importing.extras import require

MOST_TICKS = 12
"""Of places named one by one on the x axis."""
COLOURS = 10
"""Of matplotlib's cycle, which would start again after them."""
Value = float | Sequence[float]
"""A number, or the least, the median and the greatest of several."""
# Text stays text, and the same numbers give the same file: a result that did not change makes no difference in git.
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "onegen-hf",
    "font.size": 9,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": "white",
}


@dataclass(frozen=True)
class Panel:
    """
    One pair of axes.

    Args:
        title (`str`)
        x_label (`str`)
        y_label (`str`)
        series (`Mapping`): Name of a line, or of the bars of one colour → place on the x axis (a number for lines, any
            name for bars) → a number, or the least, the median and the greatest of several.
        log_x, log_y (`bool`, *optional*, defaults to `False`): Whether the axis is logarithmic.
    """

    title: str
    x_label: str
    y_label: str
    series: Mapping[str, Mapping[Any, Value]]
    log_x: bool = False
    log_y: bool = False


def plot_lines(path: Path, *panels: Panel) -> Path:
    """
    Draw lines over numbers, with a band from the least to the greatest value.

    Args:
        path (`Path`): The SVG file to write.
        panels ([`Panel`]): One or more, side by side.

    Returns:
        `Path`: The file.

    Raises:
        `ImportError`: If matplotlib is missing; the message names the extra.
        `ValueError`: If there is no panel, or one has no series.
    """
    return _draw(path, panels, _lines)


def plot_bars(path: Path, *panels: Panel) -> Path:
    """
    Draw groups of bars, with the spread as a whisker. Arguments, result and errors as for [`plot_lines`].
    """
    return _draw(path, panels, _bars)


def _draw(path: Path, panels: Sequence[Panel], draw: Callable[[Any, Panel], None]) -> Path:
    if not panels or not all(panel.series for panel in panels):
        raise ValueError(f"panels={panels!r}: a plot needs at least one panel, and each at least one series")
    require("matplotlib", extra="benchmark", purpose="Drawing the plot of a benchmark")
    from matplotlib import colormaps, rc_context
    from matplotlib.figure import Figure

    with rc_context(_STYLE):
        width = 4.2 * len(panels)
        figure = Figure(figsize=(width, 3.4), layout="constrained")
        for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            if len(panel.series) > COLOURS:
                axes.set_prop_cycle(color=colormaps["tab20"](range(2 * COLOURS)))
            draw(axes, panel)
            axes.set(title=panel.title, xlabel=panel.x_label, ylabel=panel.y_label)
            if panel.log_y:
                axes.set_yscale("log")
            else:
                axes.set_ylim(bottom=min(0, axes.dataLim.ymin * 1.1))
        if all(list(panel.series) == list(panels[0].series) for panel in panels):
            figure.legend(
                *figure.axes[0].get_legend_handles_labels(),
                loc="outside lower center",
                ncols=_columns(panels[0].series, width),
                frameon=False,
            )
        else:
            for axes in figure.axes:
                axes.legend(frameon=False, fontsize=8)
        path.parent.mkdir(exist_ok=True)
        figure.savefig(path, metadata={"Date": None})
    return path


def _columns(labels: Iterable[str], width: float) -> int:
    """As many columns of a legend as a picture of that width in inches has room for."""
    return max(1, int(width / (0.075 * max(map(len, labels)) + 0.5)))


def _lines(axes: Any, panel: Panel) -> None:
    if panel.log_x:
        axes.set_xscale("log", base=2)
    places = sorted({place for values in panel.series.values() for place in values})
    for label, values in panel.series.items():
        low, middle, high = zip(*(_spread(values[place]) for place in sorted(values)), strict=True)
        (line,) = axes.plot(sorted(values), middle, marker="o", markersize=3, label=label)
        axes.fill_between(sorted(values), low, high, color=line.get_color(), alpha=0.15, linewidth=0)
    if len(places) <= MOST_TICKS:
        axes.set_xticks(places, [f"{place:,}" for place in places])
    axes.minorticks_off()


def _bars(axes: Any, panel: Panel) -> None:
    places = list(dict.fromkeys(place for values in panel.series.values() for place in values))
    width = 0.8 / len(panel.series)
    for number, (label, values) in enumerate(panel.series.items()):
        low, middle, high = zip(*(_spread(value) for value in values.values()), strict=True)
        whiskers = [
            [m - lo for lo, m in zip(low, middle, strict=True)],
            [h - m for m, h in zip(middle, high, strict=True)],
        ]
        at = [places.index(place) + (number - (len(panel.series) - 1) / 2) * width for place in values]
        axes.bar(at, middle, width, yerr=whiskers, label=label, error_kw={"elinewidth": 0.8, "capsize": 2})
    axes.set_xticks(range(len(places)), [str(place) for place in places])


def _spread(value: Value) -> tuple[float, float, float]:
    if isinstance(value, Sequence):
        low, middle, high = value
        return low, middle, high
    return value, value, value
