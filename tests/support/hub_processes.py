"""Processes that know nothing but a Hub's address, a token and an empty cache folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import huggingface_hub
import pytest

from support.forked_python import ForkedPython
from support.loopback import LoopbackHub

TOKEN = "hf_SecretOfTheTests"


def environment(hub: LoopbackHub, cache: Path, **changed: str) -> dict[str, str]:
    """Variables for a process; one that is changed to `""` is unset."""
    variables = {
        **os.environ, "HF_HUB_OFFLINE": "0", "HF_ENDPOINT": hub.url, "HF_HOME": str(cache), "HF_TOKEN": TOKEN,
        "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1",
        "OMP_NUM_THREADS": "1", **changed,
    }  # fmt: skip
    return {name: value for name, value in variables.items() if value}


def start(hub: LoopbackHub, cache: Path, *command: str, **changed: str) -> subprocess.CompletedProcess[str]:
    """Run Python with these arguments."""
    variables = environment(hub, cache, **changed)
    return subprocess.run([sys.executable, *command], capture_output=True, text=True, env=variables, timeout=240)


def run(hub: LoopbackHub, cache: Path, *command: str, **changed: str) -> str:
    """Standard output of what has to succeed without the token showing anywhere."""
    done = start(hub, cache, *command, **changed)
    assert done.returncode == 0, done.stderr
    assert TOKEN not in done.stdout + done.stderr
    return done.stdout


def run_forked(hub: LoopbackHub, cache: Path, code: str, *arguments: str, **changed: str) -> str:
    """As [`run`], without the seconds of the imports: the process has onegen_hf imported, and nothing of this test."""
    process = ForkedPython(code, *arguments, environment=environment(hub, cache, **changed))
    assert process.wait() == 0, process.stderr
    assert TOKEN not in process.stdout + process.stderr
    return process.stdout


def connect(hub: LoopbackHub, cache: Path, monkeypatch: pytest.MonkeyPatch, token: str = TOKEN) -> None:
    """Let this process, and those that are forked from it, speak to a Hub."""
    constants = huggingface_hub.constants
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + template.partition(".co")[2])
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setenv("HF_TOKEN", token)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
