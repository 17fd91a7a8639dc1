"""Every program has a short version, which runs from the command line to its result."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import plot, report, variants
from onegen_hf.cli.benchmark import DIRECTORY, programs
from onegen_hf.cli.main import main

ELSEWHERE = {"against_pipeline", "encoding", "index_types", "interference", "one_pass", "training", "variants"}
"""Their short versions have tests that look closer at the results."""
OPTIONS: dict[str, list[str]] = {
    "decoding": [],
    "drafts": [],
    "entity_linking": ["--dtype", "float32"],
    "forced_tokens": [],
    "index_memory": [],
    "quality": ["--dtype", "float32"],
    "throughput": ["--dtype", "float32"],
}


def test_every_program_has_a_short_version() -> None:
    assert ELSEWHERE | set(OPTIONS) == set(programs(DIRECTORY))
    assert not ELSEWHERE & set(OPTIONS)


@pytest.mark.parametrize("name", OPTIONS)
def test_short_version(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for module in (report, plot, variants):
        monkeypatch.setattr(module, "RESULTS", tmp_path)
    options = ["--quick", "true"] if name == "quality" else ["--quick"]
    main(["benchmark", name, *options, *OPTIONS[name]])
    result = json.loads((tmp_path / f"{name}_quick.json").read_text(encoding="utf-8"))
    assert result["question"].endswith("?")
    assert "cores" in result["machine"]
