"""`onegen-hf benchmark` lists the programs with their questions, and runs one with its options."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from onegen_hf.cli import benchmark
from onegen_hf.cli.benchmark import DIRECTORY, programs
from onegen_hf.cli.main import main

PROGRAM = '''"""
How fast is it,
and why?

More.
"""
import sys


def main():
    print("ran with", sys.argv)
'''


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of benchmarks of its own name, so that none is mistaken for the repository's."""
    directory = tmp_path / "made_up_benchmarks"
    directory.mkdir()
    for name, text in {"__init__": "", "speed": PROGRAM, "report": '"""No program."""\n'}.items():
        (directory / f"{name}.py").write_text(text, encoding="utf-8")
    monkeypatch.setattr(benchmark, "DIRECTORY", directory)
    return directory


def test_programs_are_listed_with_their_question(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["benchmark"])
    assert stopped.value.code == 0
    assert "  speed  How fast is it, and why?" in capsys.readouterr().out.splitlines()
    assert list(programs(checkout)) == ["speed"]


def test_a_program_gets_its_options_and_leaves_no_trace(
    checkout: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, argv = [*sys.path], [*sys.argv]
    main(["benchmark", "speed", "--quick", "--sizes", "3"])
    assert capsys.readouterr().out.strip() == "ran with ['onegen-hf benchmark speed', '--quick', '--sizes', '3']"
    assert (sys.path, sys.argv) == (path, argv)


def test_an_unknown_name_is_refused_with_the_list(checkout: Path) -> None:
    with pytest.raises(SystemExit, match="unknown benchmark 'sped': choose one of speed"):
        main(["benchmark", "sped"])


def test_without_a_checkout_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "DIRECTORY", tmp_path / "benchmarks")
    with pytest.raises(SystemExit, match="part of the repository, not of the installed package"):
        main(["benchmark", "speed"])


def test_every_program_of_the_repository_asks_a_question_and_is_a_command() -> None:
    questions = programs(DIRECTORY)
    assert "one_pass" in questions
    for name, question in questions.items():
        assert question.endswith("?"), f"{name}: {question!r}"
        assert 'if __name__ == "__main__":' in (DIRECTORY / f"{name}.py").read_text(encoding="utf-8")
