"""`onegen-hf benchmark NAME`: runs one of the repository's measurements."""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
from collections.abc import Sequence
from pathlib import Path

DIRECTORY = Path(__file__).resolve().parents[2] / "benchmarks"
"""The folder beside this package in a checkout. It is not installed: results belong to the code that gave them."""


def programs(directory: Path) -> dict[str, str]:
    """
    The measurements of a checkout, without importing them.

    Args:
        directory (`Path`): The folder `benchmarks`.

    Returns:
        `dict[str, str]`: Name → the question that it answers: the first sentence of its docstring.

    Raises:
        `ValueError`: If there is no such folder.
    """
    if not (directory / "__init__.py").is_file():
        raise ValueError(
            f"{directory} is not there: the benchmarks are part of the repository, not of the installed package. Get "
            "the repository, run `pip install -e '.[benchmark]'` in it, then this command."
        )
    found = {}
    for path in sorted(directory.glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in tree.body):
            text = inspect.cleandoc(ast.get_docstring(tree) or "")
            found[path.stem] = " ".join(text.partition("\n\n")[0].split())
    return found


def usage(questions: dict[str, str]) -> str:
    """The text of `onegen-hf benchmark --help`."""
    width = max(map(len, questions), default=0)
    lines = [f"  {name:<{width}}  {question}" for name, question in questions.items()]
    return "\n".join(["usage: onegen-hf benchmark NAME [--help] [--quick] ...", "", *lines])


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    questions = programs(DIRECTORY)
    name, *options = [*arguments] or ["--help"]
    if name in ("-h", "--help"):
        print(usage(questions))
        sys.exit(0)
    if name not in questions:
        raise ValueError(f"unknown benchmark {name!r}\n\n{usage(questions)}")
    # The programs are commands of their own (`python -m benchmarks.NAME`), which read the process's arguments; the
    # folder beside this package is meant, whatever else is called `benchmarks`.
    path, argv = sys.path[:], sys.argv
    sys.path.insert(0, str(DIRECTORY.parent))
    sys.argv = [f"onegen-hf benchmark {name}", *options]
    try:
        importlib.import_module(f"{DIRECTORY.name}.{name}").main()
    finally:
        sys.path[:], sys.argv = path, argv
