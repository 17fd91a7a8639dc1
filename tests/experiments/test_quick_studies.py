"""Every study has a quick version, which runs from its options to its result."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest

import experiments
from onegen_hf.cli.benchmark import programs

ELSEWHERE = {"against_pipeline", "interference", "variants"}
"""Their quick versions are run by test_study.py."""
OPTIONS: dict[str, list[str]] = {"entity_linking": ["--dtype", "float32"], "forced_tokens": [], "self_rag_modes": []}
SLOW = ("entity_linking",)
"""It links with the built-in linker; test_linking_study.py runs its parts."""


def test_every_study_asks_a_question_and_has_a_quick_version() -> None:
    studies = programs(Path(experiments.__file__).parent)
    assert ELSEWHERE | set(OPTIONS) == set(studies)
    assert not ELSEWHERE & set(OPTIONS)
    for name, question in studies.items():
        assert question.endswith("?"), f"{name}: {question!r}"


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n in SLOW)) for n in OPTIONS])
def test_quick_version(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = importlib.import_module(f"experiments.{name}")
    monkeypatch.setattr(program, "RESULTS", tmp_path)
    monkeypatch.setattr("sys.argv", [name, "--quick", *OPTIONS[name]])
    program.main()
    result = json.loads((tmp_path / f"{name}_quick.json").read_text(encoding="utf-8"))
    assert result["question"].endswith("?")
    assert "cores" in result["machine"]
