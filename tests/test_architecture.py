"""The rules of the design that a reader of the imports can check: data flows one way, files stay small."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("onegen_hf", "data_builders")
MAX_LINES = 400
PICKLES = ("pickle", "cloudpickle", "dill")
# Top-level packages that nothing in the package named first may import, not even inside a function.
FORBIDDEN_IMPORTS = {
    "data_builders": ("torch", "transformers", "onegen_hf", "tests", "examples", "benchmarks"),
    "onegen_hf": ("tests", "examples", "benchmarks"),
}


class Module(NamedTuple):
    """A source file: its path from the root, its dotted name, its text and its tree."""

    path: str
    name: str
    is_package: bool
    text: str
    tree: ast.Module


class Import(NamedTuple):
    """One imported name: `from a import b` is target `a.b`; `import a` is target `a`."""

    target: str
    line: int


def load(root: Path) -> tuple[list[Module], list[str]]:
    """Parse every file of the packages under `root`; what does not parse is a violation."""
    modules, violations = [], []
    for file in sorted(file for package in PACKAGES for file in (root / package).rglob("*.py")):
        relative = file.relative_to(root)
        text = file.read_text(encoding="utf-8")
        try:
            tree = ast.parse(text)
        except SyntaxError as error:
            violations.append(f"{relative.as_posix()}:{error.lineno}: does not parse: {error.msg}")
            continue
        is_package = file.name == "__init__.py"
        parts = relative.parts[:-1] if is_package else (*relative.parts[:-1], file.stem)
        modules.append(Module(relative.as_posix(), ".".join(parts), is_package, text, tree))
    return modules, violations


def statements(node: ast.AST, *, executed_at_import: bool) -> Iterator[ast.AST]:
    """Walk a tree; with `executed_at_import`, without function bodies and what only type checkers read."""
    skipped: list[ast.AST] = []
    if executed_at_import and isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
        return
    if executed_at_import and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        skipped = list(node.body)
    yield node
    for child in ast.iter_child_nodes(node):
        if child not in skipped:
            yield from statements(child, executed_at_import=executed_at_import)


def imports(module: Module, *, executed_at_import: bool = False) -> Iterator[Import]:
    """The absolute names that a module imports, relative ones resolved."""
    for node in statements(module.tree, executed_at_import=executed_at_import):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = module.name.split(".")
                parents = parents[: len(parents) - node.level + module.is_package]
                base = ".".join([*parents, base] if base else parents)
            yield from (Import(f"{base}.{alias.name}", node.lineno) for alias in node.names)


def forbidden_imports(module: Module) -> Iterator[str]:
    package = module.name.split(".")[0]
    for target, line in imports(module):
        top = target.split(".")[0]
        if top in FORBIDDEN_IMPORTS[package]:
            yield f"{module.path}:{line}: {package} must not import {top}"
        if top in PICKLES:
            yield f"{module.path}:{line}: {top} is not allowed; loading a pickle runs code"


def forbidden_calls(module: Module) -> Iterator[str]:
    prints = module.path.startswith("onegen_hf/cli/") or module.path.endswith("__main__.py")
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id in ("eval", "exec"):
                yield f"{module.path}:{node.lineno}: {node.func.id}() is not allowed"
            if node.func.id == "print" and not prints:
                yield f"{module.path}:{node.lineno}: print() belongs in onegen_hf/cli; use logging"


def form(module: Module) -> Iterator[str]:
    lines = len(module.text.splitlines())
    if lines > MAX_LINES:
        yield f"{module.path}: {lines} lines, more than {MAX_LINES}"
    public = not Path(module.path).stem.startswith("_") or module.is_package
    if public and module.text.strip() and not ast.get_docstring(module.tree):
        yield f"{module.path}: no module docstring"


def import_graph(modules: list[Module]) -> dict[str, set[str]]:
    """Which modules each module imports when it is itself imported. A parent package is not an edge by itself."""
    names = {module.name for module in modules}
    graph: dict[str, set[str]] = {module.name: set() for module in modules}
    for module in modules:
        for target, _ in imports(module, executed_at_import=True):
            while target and target not in names:  # `from a.b import name`: the module is a.b
                target = target.rpartition(".")[0]
            if target and target != module.name:
                graph[module.name].add(target)
    return graph


def import_cycles(graph: dict[str, set[str]]) -> list[str]:
    """Every cycle met by a depth-first search, as one line each."""
    cycles: list[str] = []
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> None:
        if name in path:
            cycles.append("import cycle: " + " -> ".join([*path[path.index(name) :], name]))
            return
        if name not in done:
            for target in sorted(graph[name]):
                visit(target, [*path, name])
            done.add(name)

    for name in sorted(graph):
        visit(name, [])
    return cycles


def find_violations(root: Path) -> list[str]:
    """All broken rules of the packages under `root`, one line each."""
    modules, violations = load(root)
    rules: tuple[Callable[[Module], Iterator[str]], ...] = (forbidden_imports, forbidden_calls, form)
    violations += [violation for module in modules for rule in rules for violation in rule(module)]
    return violations + import_cycles(import_graph(modules))


def test_this_repository_keeps_the_rules() -> None:
    violations = find_violations(ROOT)
    assert not violations, "\n".join(violations)


def test_the_packages_are_where_the_checker_looks() -> None:
    modules, _ = load(ROOT)
    assert {module.name.split(".")[0] for module in modules} == set(PACKAGES)


# The checker itself, on trees with known faults.


def write_tree(root: Path, files: dict[str, str]) -> Path:
    for path, text in files.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return root


CLEAN = {
    "onegen_hf/__init__.py": '"""Doc."""\nfrom .a import x\nfrom .sub import y\n',
    "onegen_hf/a.py": '"""Doc."""\nfrom data_builders.schema import x\n',
    "onegen_hf/sub/__init__.py": '"""Doc."""\nfrom . import leaf\nfrom .leaf import y\n',
    "onegen_hf/sub/leaf.py": '"""Doc."""\nimport torch\nfrom ..a import x\ny = x\n',
    "onegen_hf/cli/main.py": '"""Doc."""\nprint("the answer")\n',
    "onegen_hf/_private.py": "model.eval()\n",
    "data_builders/__init__.py": "",
    "data_builders/schema.py": '"""Doc."""\nx = 1\n',
    "data_builders/__main__.py": 'print("written")\n',
}


def test_clean_tree_has_no_violation(tmp_path: Path) -> None:
    assert find_violations(write_tree(tmp_path, CLEAN)) == []


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        ("data_builders/b.py", "import torch.nn", "data_builders/b.py:2: data_builders must not import torch"),
        ("data_builders/b.py", "from transformers import AutoModel", "must not import transformers"),
        ("data_builders/b.py", "def f():\n    from onegen_hf.a import x", "b.py:3: data_builders must not import"),
        ("onegen_hf/b.py", "import tests.conftest", "onegen_hf must not import tests"),
        ("onegen_hf/sub/b.py", "from examples import ask", "onegen_hf must not import examples"),
        ("onegen_hf/b.py", "if x:\n    import benchmarks", "onegen_hf must not import benchmarks"),
        ("onegen_hf/b.py", "import pickle", "pickle is not allowed"),
        ("onegen_hf/b.py", "from pickle import loads", "pickle is not allowed"),
        ("data_builders/b.py", "x = eval('1')", "eval() is not allowed"),
        ("onegen_hf/b.py", "def f():\n    exec('1')", "onegen_hf/b.py:3: exec() is not allowed"),
        ("onegen_hf/b.py", "print('x')", "print() belongs in onegen_hf/cli"),
        ("data_builders/b.py", "print('x')", "print() belongs in onegen_hf/cli"),
        ("onegen_hf/b.py", "\n".join(["x = 1"] * 400), "onegen_hf/b.py: 401 lines, more than 400"),
        ("onegen_hf/b.py", "def f(:", "onegen_hf/b.py:2: does not parse"),
    ],
)
def test_each_fault_is_found(tmp_path: Path, path: str, text: str, expected: str) -> None:
    violations = find_violations(write_tree(tmp_path, {**CLEAN, path: f'"""Doc."""\n{text}\n'}))
    assert len(violations) == 1
    assert expected in violations[0]


def test_missing_docstring_is_found(tmp_path: Path) -> None:
    tree = write_tree(tmp_path, {**CLEAN, "onegen_hf/b.py": "x = 1\n"})
    assert find_violations(tree) == ["onegen_hf/b.py: no module docstring"]


def test_a_file_of_exactly_the_limit_is_allowed(tmp_path: Path) -> None:
    tree = write_tree(tmp_path, {**CLEAN, "onegen_hf/b.py": '"""Doc."""\n' + "x = 1\n" * 399})
    assert find_violations(tree) == []


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (
            {"onegen_hf/b.py": "from .c import x", "onegen_hf/c.py": "import onegen_hf.b"},
            "import cycle: onegen_hf.b -> onegen_hf.c -> onegen_hf.b",
        ),
        (
            {"onegen_hf/sub/b.py": "from ..c import x", "onegen_hf/c.py": "from .sub import b"},
            "import cycle: onegen_hf.c -> onegen_hf.sub.b -> onegen_hf.c",
        ),
        (
            {"onegen_hf/a.py": "try:\n    from onegen_hf import y\nexcept ImportError:\n    pass"},
            "import cycle: onegen_hf -> onegen_hf.a -> onegen_hf",
        ),
    ],
    ids=["absolute and relative", "across packages", "through the package itself"],
)
def test_import_cycle_is_found(tmp_path: Path, files: dict[str, str], expected: str) -> None:
    documented = {path: f'"""Doc."""\n{text}\n' for path, text in files.items()}
    violations = find_violations(write_tree(tmp_path, {**CLEAN, **documented}))
    assert expected in violations


@pytest.mark.parametrize(
    "text",
    [
        "def f():\n    from .c import x",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .c import x",
    ],
    ids=["inside a function", "for type checkers"],
)
def test_import_not_executed_is_no_cycle(tmp_path: Path, text: str) -> None:
    files = {"onegen_hf/b.py": f'"""Doc."""\n{text}\n', "onegen_hf/c.py": '"""Doc."""\nfrom .b import f\n'}
    assert find_violations(write_tree(tmp_path, {**CLEAN, **files})) == []
