"""Tables in Markdown, and what docstrings say in one cell."""

from __future__ import annotations

import argparse
import inspect
import re
from collections.abc import Iterable, Sequence
from typing import Any

_REFERENCE = re.compile(r"\[`~?([\w.]+)`\](?![\[(])")


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def cell(text: str) -> str:
    """A text on one line, with the names of references in the place of references."""
    text = _REFERENCE.sub(lambda match: f"`{match[1].rpartition('.')[2]}`", " ".join(text.split()))
    return text.replace("|", "\\|")


def summary(value: Any) -> str:
    """The first paragraph of a docstring."""
    return cell(inspect.cleandoc(value.__doc__ or "").partition("\n\n")[0])


def documented_arguments(kind: type[Any]) -> dict[str, str]:
    """The texts of the section `Args` of a class, by argument."""
    entries = re.findall(
        r"^    (\w+) \(`.*?\):((?:[^\n]*\n)(?:        .*\n?)*)", inspect.cleandoc(kind.__doc__ or ""), re.MULTILINE
    )
    return {name: cell(text) for name, text in entries}


def default(value: Any) -> str:
    """A default as the command line takes it."""
    if value is None or value == [] or value is argparse.SUPPRESS:
        return ""
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"`{' '.join(map(str, value)) if isinstance(value, (list, tuple)) else value}`"
