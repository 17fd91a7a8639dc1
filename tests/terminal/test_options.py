"""Options from arguments and files: any order, old names, and errors in one line."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from onegen_hf.terminal.options import OptionParser


@dataclass
class Options:
    """Some of each kind."""

    k: int = 1
    json: bool = False
    as_it_is: bool = False


def read(*arguments: str) -> tuple[list[str], Options]:
    return OptionParser(Options, "program").parse_with_texts(arguments)


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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a", "--kk", "2"], "program: unknown options: --kk; did you mean --k?"),
        (["-q", "a"], "program: unknown options: -q"),
        (["a", "--k", "two"], "program: argument --k: invalid int value: 'two'"),
        (["a", "--k"], "program: argument --k: expected one argument"),
        (["a", "--config"], "program: --config needs a file"),
    ],
)
def test_faulty_options_end_in_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        read(*arguments)
    shown = capsys.readouterr()
    assert stopped.value.code == 2 and shown.out == ""
    assert shown.err.startswith(message) and shown.err.count("\n") == 1


def test_what_follows_two_hyphens_is_text() -> None:
    assert read("--k", "2", "--", "--json", "-q") == (["--json", "-q"], Options(k=2))


def test_a_configuration_file(tmp_path: Path) -> None:
    path = tmp_path / "options.yaml"
    path.write_text("k: 3\n")
    assert read("--config", str(path), "a") == (["a"], Options(k=3))
    assert read(f"--config={path}", "a", "--k", "4") == (["a"], Options(k=4))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"kk: 3\n", "unknown options: --kk"),
        (b"k: 1\nb: [1, 2\n", r"options.yaml:3: this is not valid YAML: expected ',' or '\]'"),
        (b"k: \xff\n", "this is not UTF-8"),
        (b"k: three\n", "argument --k: invalid int value: 'three'"),
    ],
)
def test_faulty_configuration_files(
    tmp_path: Path, content: bytes, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "options.yaml"
    path.write_bytes(content)
    with pytest.raises(SystemExit) as stopped:
        read("a", "--config", str(path))
    shown = capsys.readouterr().err
    assert stopped.value.code == 2 and shown.count("\n") == 1 and re.search(message, shown)


@dataclass
class Renamed:
    """Options of which one had another name."""

    renamed: ClassVar[dict[str, str]] = {"k": "top_k"}

    top_k: int = 1


@pytest.mark.parametrize("arguments", [["--k", "2"], ["--k=2"]])
def test_an_old_name_warns(arguments: list[str]) -> None:
    with pytest.warns(FutureWarning, match="program: --k is now called --top-k; the old name goes away in 0.3"):
        assert OptionParser(Renamed, "program").parse(arguments) == (Renamed(top_k=2),)


def test_an_old_name_in_a_file_warns(tmp_path: Path) -> None:
    path = tmp_path / "options.yaml"
    path.write_text("k: 3\n")
    with pytest.warns(FutureWarning, match="program: k is now called top_k"):
        assert OptionParser(Renamed, "program").parse(["--config", str(path)]) == (Renamed(top_k=3),)
    with pytest.raises(TypeError, match="k is the old name of top_k"):
        path.write_text("k: 3\ntop_k: 3\n")
        OptionParser(Renamed, "program").parse(["--config", str(path)])


def test_help_shows_hyphens_and_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        OptionParser(Renamed, "program", description="It does something.").parse(["--help"])
    shown = capsys.readouterr().out
    assert shown.startswith("usage: program [options]\n\nIt does something.")
    assert "--top-k N" in shown and "top_k" not in shown.lower().replace("top_k n", "")
