"""The training recipes: the folder `recipes` of a checkout, shipped inside the installed package."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]


def recipe_folder() -> Path:
    """Where the recipes are: in the package if it was installed from a wheel, else beside it."""
    shipped = _PACKAGE / "recipes"
    return shipped if shipped.is_dir() else _PACKAGE.parent / "recipes"


def recipes() -> dict[str, Path]:
    """Name → file of every recipe, such as `quick_start`."""
    return {path.stem: path for path in sorted(recipe_folder().glob("*.yaml"))}
