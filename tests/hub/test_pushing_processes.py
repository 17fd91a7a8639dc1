"""What two processes push, whose weights may be sharded, is one plain checkpoint or adapter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load
from support import pushing_processes
from support.hub_processes import TOKEN, run
from support.loopback import LoopbackHub

TESTS = str(Path(__file__).parents[1])


@pytest.mark.slow
def test_sharded_and_not(hub: LoopbackHub, tmp_path: Path) -> None:
    pushed_and_plain(hub, tmp_path, pushing_processes.SHARDING)


@pytest.mark.deepspeed
def test_deepspeed(hub: LoopbackHub, tmp_path: Path) -> None:
    pushed_and_plain(hub, tmp_path, pushing_processes.DEEPSPEED, "deepspeed")


def pushed_and_plain(hub: LoopbackHub, tmp_path: Path, cases: dict[str, dict[str, Any]], *arguments: str) -> None:
    command = ("-m", "support.pushing_processes", str(tmp_path / "runs"), TOKEN, *arguments)
    run(hub, tmp_path / "cache", *command, PYTHONPATH=TESTS, HF_TOKEN="")
    assert {f"models/org/{name}" for name in cases} == set(hub.repositories)
    for name, settings in cases.items():
        files = hub.repositories[f"models/org/{name}"]["main"]
        assert not any(path.endswith((".bin", ".pt", ".pth", ".pkl", ".distcp")) for path in files), sorted(files)
        assert not any(TOKEN.encode() in content for content in files.values())
        weights = "adapter_model.safetensors" if settings.get("adapter") else "model.safetensors"
        assert sum(path.endswith(".safetensors") for path in files) == 1 and weights in files, sorted(files)
        saved = (tmp_path / "runs" / name / weights).read_bytes()
        assert files[weights] == saved
        assert all(tensor.numel() for tensor in load(saved).values())
        commits = [line for line in hub.requests if line.startswith("POST") and f"org/{name}/commit/" in line]
        assert len(commits) == len(set(hub.repositories[f"models/org/{name}"])) - 1, commits
