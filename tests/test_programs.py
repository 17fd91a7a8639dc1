"""Every benchmark and every experiment imports, prints its help, and reads no option that it does not have."""

from __future__ import annotations

import argparse
import ast
import importlib
from pathlib import Path
from typing import Any

import pytest

from onegen_hf.cli.benchmark import programs

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = [f"{folder}.{name}" for folder in ("benchmarks", "experiments") for name in programs(ROOT / folder)]


class Parsing(Exception):
    """Raised with a program's parser at the moment when it would read the command line."""


@pytest.mark.parametrize("name", PROGRAMS)
def test_help(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", [name, "--help"])
    with pytest.raises(SystemExit) as stopped:
        importlib.import_module(name).main()
    assert stopped.value.code == 0
    assert "--quick" in capsys.readouterr().out


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_option_that_is_read_exists(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(parser: argparse.ArgumentParser, *_: Any, **__: Any) -> None:
        raise Parsing(parser)

    monkeypatch.setattr(argparse.ArgumentParser, "parse_known_args", stop)
    monkeypatch.setattr("sys.argv", [name])
    module = importlib.import_module(name)
    with pytest.raises(Parsing) as stopped:
        module.main()
    (parser,) = stopped.value.args
    tree = ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))
    read = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "options"
    }
    assert read - {action.dest for action in parser._actions} == set()
