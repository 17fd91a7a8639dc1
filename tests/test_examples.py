"""The four examples run one after the other on a tiny model: train, index, ask, evaluate."""

from __future__ import annotations

import ast
import importlib.util
import json
import runpy
from pathlib import Path

import pytest
from support.sample_corpus import DOCUMENTS, make_repository

from benchmarks.tiny import tiny_backbone

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
NAMES = sorted(path.stem for path in EXAMPLES.glob("*.py"))


def run(name: str, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    """Run a script as from the command line."""
    monkeypatch.setattr("sys.argv", [f"{name}.py", *arguments])
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")


def test_train_index_ask_evaluate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = str(make_repository(tmp_path / "data"))
    model, index, evaluation = (tmp_path / name for name in ("model", "index", "evaluation"))
    run(
        "train_rag", monkeypatch, "--model", tiny_backbone(tmp_path), "--dataset", data, "--max-steps", "2",
        "--output-dir", str(model),
    )  # fmt: skip
    assert (model / "adapter_model.safetensors").is_file()

    run("build_index", monkeypatch, "--model", str(model), "--passages", data, "--output-dir", str(index))
    assert json.loads((index / "index.json").read_text(encoding="utf-8"))["passages"] == len(DOCUMENTS)

    where = ["--model", str(model), "--index", str(index), "--max-new-tokens", "8"]
    capsys.readouterr()
    run("ask_questions", monkeypatch, "Who made Tin Boat?", "Why?", *where)
    printed = capsys.readouterr().out
    assert printed.count("answer:") == 2 and "Who made Tin Boat?" in printed

    run("evaluate_rag", monkeypatch, "--dataset", data, "--limit", "2", "--output-dir", str(evaluation), *where)
    report = json.loads((evaluation / "report.json").read_text(encoding="utf-8"))
    assert report["results"]["retrieved"]["all"]["examples"] == 2
    assert "exact_match" in capsys.readouterr().out


@pytest.mark.parametrize("name", NAMES)
def test_header_and_help(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        run(name, monkeypatch, "--help")
    assert stopped.value.code == 0 and "--model" in capsys.readouterr().out
    source = (EXAMPLES / f"{name}.py").read_text(encoding="utf-8")
    assert f"python examples/{name}.py" in (ast.get_docstring(ast.parse(source)) or "")
    assert "# 1. " in source and f"]({name}.py)" in (EXAMPLES / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_no_script_hides_a_package(name: str) -> None:
    """Python puts the folder of a script first on the path: examples/evaluate.py would replace `evaluate`."""
    assert importlib.util.find_spec(name) is None
