"""Texts and options on one command line, in any order."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from onegen_hf.cli.texts import texts_and_options


@dataclass
class Options:
    """Some of each kind."""

    k: int = 1
    json: bool = False
    as_it_is: bool = False


def read(*arguments: str) -> tuple[list[str], Options]:
    return texts_and_options(Options, arguments, "program")


@pytest.mark.parametrize(
    ("arguments", "texts", "options"),
    [
        ([], [], Options()),
        (["a", "b c"], ["a", "b c"], Options()),
        (["a", "--k", "2"], ["a"], Options(k=2)),
        (["--k", "2", "a"], ["a"], Options(k=2)),
        (["a", "--json", "b", "--k", "2", "c"], ["a", "b", "c"], Options(k=2, json=True)),
        (["--json", "true", "a"], ["a"], Options(json=True)),
        (["--json", "False", "a"], ["a"], Options()),
        (["--as_it_is", "a"], ["a"], Options(as_it_is=True)),
        (["--as-it-is", "a", "--json"], ["a"], Options(json=True, as_it_is=True)),
        (["-5 degrees, where?"], ["-5 degrees, where?"], Options()),
    ],
)
def test_any_order(arguments: list[str], texts: list[str], options: Options) -> None:
    assert read(*arguments) == (texts, options)


@pytest.mark.parametrize("arguments", [["a", "--kk", "2"], ["-q", "a"]])
def test_unknown_options(arguments: list[str]) -> None:
    with pytest.raises(ValueError, match="unknown options: -.*; `--help` lists"):
        read(*arguments)


def test_a_configuration_file(tmp_path: Path) -> None:
    path = tmp_path / "options.yaml"
    path.write_text("k: 3\n")
    assert read("--config", str(path), "a") == (["a"], Options(k=3))
    path.write_text("kk: 3\n")
    with pytest.raises(ValueError, match="unknown options: --kk"):
        read("a", "--config", str(path))
