"""The floor plan: a list of rooms, each of which imports from the rooms before it and from no other."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

ROOMS = [
    # Ground.
    "importing", "checks", "filters", "terminal", "files", "similarity", "pages",
    # What comes with the package.
    "bundled",
    # The contract: which tokens there are, and what a checkpoint says of them.
    "tokens", "configuration", "presets",
    # What artefacts use to describe and publish themselves.
    "hub",
    # From records to batches, to losses, to a model.
    "data", "losses", "metrics", "cards", "modeling",
    # What a model is used for.
    "index", "generation", "linking", "training", "pipelines", "sentence_transformer", "serving", "integrations",
    "evaluation",
    # What people call.
    "ui", "cli", "train", "__main__", "__init__",
]  # fmt: skip
NOT_IMPORTED = {
    "data_builders": {"torch", "transformers", "onegen_hf", "tests", "examples", "benchmarks", "experiments"},
    "onegen_hf": {"tests", "examples", "benchmarks", "experiments"},
    "benchmarks": {"tests", "examples", "experiments"},
    "experiments": {"tests", "examples"},
}
"""Package → top-level packages that nothing in it imports."""
MOST_FILES_AT_THE_ROOT = 8


def modules(root: Path, package: str) -> dict[str, Path]:
    """Dotted name → file, of every module of a package."""
    files = (root / package).rglob("*.py")
    return {".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): file for file in files}


def imported(name: str, file: Path) -> Iterator[str]:
    """The absolute dotted names that a module imports, inside of functions and for type checkers too."""
    package = name.split(".") if file.name == "__init__.py" else name.split(".")[:-1]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def arrows(root: Path, package: str = "onegen_hf") -> dict[str, set[str]]:
    """Module → the modules of the same package that it imports."""
    known = modules(root, package)
    graph: dict[str, set[str]] = {name: set() for name in known}
    for name, file in known.items():
        for target in imported(name, file):
            while target and target not in known:  # `from a.b import name`: the module is a.b
                target = target.rpartition(".")[0]
            if target and target != name:
                graph[name].add(target)
    return graph


def room_of(module: str) -> str:
    if module.endswith(".__main__"):  # of a room: another name of a command
        return "__main__"
    return module.split(".")[1] if "." in module else "__init__"


def upward(root: Path) -> list[str]:
    """The imports that run against the order of the rooms."""
    place = {room: number for number, room in enumerate(ROOMS)}
    return [
        f"{module} imports {target}"
        for module, targets in arrows(root).items()
        for target in sorted(targets)
        if place[room_of(target)] > place[room_of(module)]
    ]


def test_no_arrow_runs_up() -> None:
    assert upward(ROOT) == []


@pytest.mark.parametrize("package", ["onegen_hf", "data_builders"])
def test_there_is_no_circle(package: str) -> None:
    try:
        TopologicalSorter(arrows(ROOT, package)).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_the_list_is_complete() -> None:
    assert sorted({room_of(module) for module in arrows(ROOT)}) == sorted(ROOMS)
    assert len(list((ROOT / "onegen_hf").glob("*.py"))) <= MOST_FILES_AT_THE_ROOT


@pytest.mark.parametrize("package", NOT_IMPORTED)
def test_what_a_package_must_not_import(package: str) -> None:
    found = [
        f"{name} imports {target}"
        for name, file in modules(ROOT, package).items()
        for target in imported(name, file)
        if target.split(".")[0] in NOT_IMPORTED[package]
    ]
    assert found == []


@pytest.mark.parametrize(
    "text",
    ["from .cli import main", "def f():\n    from .cli.main import main", "import onegen_hf.cli.main"],
    ids=["at the top", "deferred", "absolute"],
)
def test_an_arrow_that_runs_up_is_found(tmp_path: Path, text: str) -> None:
    (tmp_path / "onegen_hf/cli").mkdir(parents=True)
    for name, content in {"__init__": "", "cli/__init__": "", "cli/main": "", "files": text}.items():
        (tmp_path / f"onegen_hf/{name}.py").write_text(content)
    assert len(upward(tmp_path)) == 1
