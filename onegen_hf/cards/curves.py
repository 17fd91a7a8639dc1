"""The losses of a training as a picture beside the model card, which the Hub shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

WIDTH, HEIGHT, LEFT, TOP = 640, 200, 46, 26
"""Size of a panel, and the place of its axes, in pixels."""
PANELS: Mapping[str, Mapping[str, str]] = {
    "losses": {"loss_gen": "#0b6bcb", "loss_ret": "#cf6a1b", "eval_loss": "#8250df"},
    "retrieval accuracy": {"retrieval_accuracy": "#2da44e", "eval_recall@1": "#8250df"},
}
"""Title of a panel → the logged numbers in it, each with its colour."""
_GREY = "#768390"  # legible on a light page and on a dark one


def training_curves(log: Sequence[Mapping[str, Any]]) -> str | None:
    """
    Draw the course of a training.

    Args:
        log (`Sequence[Mapping]`): `log_history` of a Trainer's state.

    Returns:
        `str`: An SVG document; `None` if fewer than two steps were logged.
    """
    panels: list[str] = []
    for title, colors in PANELS.items():
        curves = {name: _points(log, name) for name in colors}
        curves = {name: points for name, points in curves.items() if points}
        if any(len(points) > 1 for points in curves.values()):
            panels.append(_panel(title, curves, colors, top=len(panels) * HEIGHT))
    if not panels:
        return None
    height = len(panels) * HEIGHT
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        'role="img" font-family="system-ui, sans-serif" font-size="11">',
        "<title>Training curves</title>",
        *panels,
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _points(log: Sequence[Mapping[str, Any]], name: str) -> list[tuple[float, float]]:
    """The logged values of a number by step."""
    return [(float(entry["step"]), float(entry[name])) for entry in log if name in entry and "step" in entry]


def _panel(title: str, curves: Mapping[str, list[tuple[float, float]]], colors: Mapping[str, str], top: int) -> str:
    steps = [step for points in curves.values() for step, _ in points]
    first, last = min(steps), max(max(steps), min(steps) + 1)
    highest = max(value for points in curves.values() for _, value in points) or 1.0
    width, height = WIDTH - LEFT - 10, HEIGHT - TOP - 24
    floor = top + TOP + height

    def place(step: float, value: float) -> str:
        return f"{LEFT + width * (step - first) / (last - first):.1f},{floor - height * max(value, 0) / highest:.1f}"

    parts = [f'<path d="M{LEFT} {top + TOP}V{floor}H{LEFT + width}" fill="none" stroke="{_GREY}"/>']
    parts += [_text(LEFT - 6, floor - height * share + 4, f"{highest * share:.3g}", "end") for share in (0, 0.5, 1)]
    parts += [_text(LEFT, floor + 16, f"step {first:g}"), _text(LEFT + width, floor + 16, f"{last:g}", "end")]
    parts.append(_text(LEFT, top + 16, title))
    for number, (name, points) in enumerate(curves.items()):
        line = " ".join(place(*point) for point in points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colors[name]}" stroke-width="2"/>')
        parts.append(_text(LEFT + width - 110 * (len(curves) - 1 - number), top + 16, name, "end", colors[name]))
    return "\n".join(parts)


def _text(x: float, y: float, text: str, anchor: str = "start", color: str = _GREY) -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" fill="{color}">{text}</text>'
