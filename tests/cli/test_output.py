"""What commands print besides results: quiet, normal and verbose; and results on a terminal."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from onegen_hf.cli import main as command_line
from onegen_hf.cli.main import main
from onegen_hf.cli.output import Verbosity, verbosity
from onegen_hf.cli.score_tables import rich_table
from onegen_hf.cli.standard_input import batches_of_standard_input
from onegen_hf.cli.trace import trace
from onegen_hf.evaluation.table import ScoreTable

RESULT: dict[str, Any] = {
    "answer": "Fern Bay\x1b[2J",
    "text": "",
    "retrievals": [
        {
            "hop": 0,
            "query": "Where?",
            "passages": [{"id": "a", "title": "[b]Ada[/b]", "text": "t " * 99, "score": 0.61}],
        }
    ],
    "usage": dict(prompt_tokens=1, generated_tokens=2, retrieved_tokens=3, forwarded_tokens=5, forward_calls=3),
    "stop_reason": "context_full",
    "retrieval_stopped": None,
}


@pytest.mark.parametrize(
    ("arguments", "kept", "chosen"),
    [
        (["ask", "Who?"], ["ask", "Who?"], Verbosity.NORMAL),
        (["--quiet", "ask", "Who?"], ["ask", "Who?"], Verbosity.QUIET),
        (["ask", "Who?", "--verbose", "--json"], ["ask", "Who?", "--json"], Verbosity.VERBOSE),
        (["ask", "--", "--quiet"], ["ask", "--", "--quiet"], Verbosity.NORMAL),
    ],
)
def test_flags_of_every_command(arguments: list[str], kept: list[str], chosen: Verbosity) -> None:
    assert command_line._without_verbosity(arguments) == (kept, chosen)


@pytest.mark.parametrize(
    ("chosen", "shown"), [(Verbosity.QUIET, []), (Verbosity.NORMAL, ["ours"]), (Verbosity.VERBOSE, ["theirs", "ours"])]
)
def test_warnings_of_libraries_need_verbose(
    chosen: Verbosity, shown: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TQDM_DISABLE", "TRANSFORMERS_VERBOSITY"):
        monkeypatch.delenv(name, raising=False)
    with warnings.catch_warnings(record=True) as caught, verbosity(chosen):
        assert os.environ.get("TQDM_DISABLE") == ("1" if chosen is Verbosity.QUIET else None)
        assert os.environ["TRANSFORMERS_VERBOSITY"] == ("info" if chosen is Verbosity.VERBOSE else "error")
        if chosen is Verbosity.VERBOSE:
            warnings.simplefilter("always")
        warnings.warn_explicit("theirs", FutureWarning, "peft.py", 1, module="peft.model")
        warnings.warn_explicit("ours", UserWarning, "a.py", 1, module="onegen_hf.index")
        level = logging.getLogger("onegen_hf").getEffectiveLevel()
        assert level == (logging.WARNING if chosen is Verbosity.NORMAL else logging.getLogger().getEffectiveLevel())
    assert [str(warning.message) for warning in caught] == shown
    assert "TRANSFORMERS_VERBOSITY" not in os.environ


def rendered(thing: Any) -> str:
    console = Console(width=60, force_terminal=True, color_system=None, highlight=False)
    with console.capture() as capture:
        console.print(thing)
    return capture.get()


def test_a_trace_on_a_terminal() -> None:
    shown = rendered(trace("Why [bold]?", RESULT))
    lines = shown.splitlines()
    assert lines[0] == "Why [bold]?" and "hop 1  Where?" in lines[1]
    assert "██████░░░░ 0.610  [b]Ada[/b]: t t" in lines[2] and lines[2].endswith("…")
    assert "Fern Bay\ufffd[2J" in lines[3] and "stopped: context_full" in lines[-1]
    assert "\x1b[2J" not in shown and max(map(len, lines)) <= 60


def test_scores_on_a_terminal() -> None:
    table = ScoreTable(["retrieved", "examples", "f1"], [["all", "12", "0.500 [0.250, 0.750]"], ["[red]", "3", "-"]])
    shown = rendered(rich_table(table))
    assert "0.500 [0.250, 0.750]" in shown and "[red]" in shown
    assert str(table).splitlines() == [
        "retrieved  examples  f1", "all              12  0.500 [0.250, 0.750]", "[red]             3  -"
    ]  # fmt: skip


def test_usage_errors_end_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (
        ["nothing"],
        ["ask", "--top-k", "0"],
        ["build", "nothing"],
        ["push", "model", "a", "not a name!"],
    ):
        with pytest.raises(SystemExit) as stopped:
            main(arguments)
        assert stopped.value.code == 2
        assert capsys.readouterr().err.count("\n") == 1


READ = """
import sys
from onegen_hf.cli.standard_input import batches_of_standard_input
for batch in batches_of_standard_input(3):
    print(batch, flush=True)
"""


def test_a_file_is_read_in_batches(tmp_path: Path) -> None:
    (tmp_path / "questions").write_text("a\nb\nc\nd\n")
    with (tmp_path / "questions").open() as file:
        done = subprocess.run([sys.executable, "-c", READ], stdin=file, capture_output=True, text=True, check=True)
    assert done.stdout == "['a', 'b', 'c']\n['d']\n"


def test_a_conversation_over_a_pipe_is_not_held_up() -> None:
    talk = subprocess.Popen([sys.executable, "-c", READ], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert talk.stdin is not None and talk.stdout is not None
    for question in ("a", "b"):
        talk.stdin.write(f"{question}\n")
        talk.stdin.flush()
        assert talk.stdout.readline() == f"['{question}']\n"
    talk.stdin.write("c\nd\n")
    talk.stdin.flush()
    assert talk.stdout.readline() == "['c', 'd']\n"
    assert talk.communicate()[0] == ""


def test_text_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    monkeypatch.setattr("sys.stdin", io.StringIO("a\nb\n"))
    assert list(batches_of_standard_input(8)) == [["a", "b"]]
