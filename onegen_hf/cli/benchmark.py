"""`onegen-hf benchmark NAME`: runs one of the measurements in the repository."""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
from collections.abc import Sequence
from pathlib import Path

DIRECTORY = Path(__file__).resolve().parents[2] / "benchmarks"
"""The folder next to this package in a checkout. It is not installed: results belong to the code behind them."""


def programs(directory: Path) -> dict[str, str]:
    """
    List the measurements of a checkout without importing them.

    Args:
        directory (`Path`): The folder `benchmarks`.

    Returns:
        `dict[str, str]`: Name → the question it answers, the first sentence of its docstring.

    Raises:
        `ValueError`: If the folder does not exist.
    """
    if not (directory / "__init__.py").is_file():
        raise ValueError(
            f"{directory} does not exist: the benchmarks are part of the repository, not of the installed package. "
            "Clone the repository, run `pip install -e '.[benchmark]'` in it, then run this command again."
        )
    questions = {}
    for path in sorted(directory.glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in tree.body):
            text = inspect.cleandoc(ast.get_docstring(tree) or "")
            questions[path.stem] = " ".join(text.partition("\n\n")[0].split())
    return questions


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
        raise ValueError(f"unknown benchmark {name!r}: choose one of {', '.join(questions)}")
    # The programs (`python -m benchmarks.NAME`) read the arguments of the process. The folder of this checkout comes
    # first on the path, in case another module is called `benchmarks`.
    path, argv = sys.path[:], sys.argv
    sys.path.insert(0, str(DIRECTORY.parent))
    sys.argv = [f"onegen-hf benchmark {name}", *options]
    try:
        importlib.import_module(f"{DIRECTORY.name}.{name}").main()
    finally:
        sys.path[:], sys.argv = path, argv
