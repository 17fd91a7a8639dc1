"""Every program has a quick version, which runs from the command line to its result."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest

from onegen_hf.cli.benchmark import DIRECTORY, programs
from onegen_hf.cli.main import main

ELSEWHERE = {"encoding", "index_types", "one_pass", "training"}
"""Their quick versions have tests that look closer at the results."""
OPTIONS: dict[str, list[str]] = {
    "decoding": [],
    "drafts": [],
    "hybrid": [],
    "index_memory": [],
    "on_gpu": ["--parts", "training", "decoding", "encoding"],
    "large_corpora": [],
    "linking_catalogue": [],
    "quality": ["--dtype", "float32"],
    "serving": [],
    "serving_engines": [],
    "stores": [],
    "threads": ["--dtype", "float32"],
    "throughput": ["--dtype", "float32"],
}
SLOW = ("drafts", "on_gpu", "quality", "serving", "serving_engines", "threads", "throughput")
"""
They answer with the built-in checkpoint, or measure all that there is, for a minute or longer; test_contenders.py,
test_on_gpu.py and tests/serving run their parts on a tiny model.
"""


def test_every_program_has_a_short_version() -> None:
    assert ELSEWHERE | set(OPTIONS) == set(programs(DIRECTORY))
    assert not ELSEWHERE & set(OPTIONS)


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n in SLOW)) for n in OPTIONS])
def test_short_version(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(importlib.import_module(f"benchmarks.{name}"), "RESULTS", tmp_path)
    options = ["--quick", "true"] if name == "quality" else ["--quick"]
    main(["benchmark", name, *options, *OPTIONS[name]])
    result = json.loads((tmp_path / f"{name}_quick.json").read_text(encoding="utf-8"))
    assert result["question"].endswith("?")
    assert "cores" in result["machine"]
