"""`ask` and `evaluate` with critique: candidates in the output, and options that need it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.reflection_setup import reflection_setup

from onegen_hf import OneGenRagPipeline
from onegen_hf.cli.ask import main as ask
from onegen_hf.cli.evaluate_arguments import EvaluateArguments


@pytest.fixture(scope="module")
def checkpoint(base_tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    setup, _ = reflection_setup(base_tokenizer)
    folder = tmp_path_factory.mktemp("reflective")
    rag = OneGenRagPipeline(model=setup.model, tokenizer=setup.tokenizer, index=setup.index, device="cpu")
    rag.save_pretrained(folder)
    return folder


def test_ask_shows_the_candidates(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = [
        "Who?", "--model", str(checkpoint), "--device", "cpu", "--retrieval", "always", "--top-k", "3",
        "--max-new-tokens", "12", "--critique", "--w-use", "0.25",
    ]  # fmt: skip
    ask([*options, "--json"])
    record = json.loads(capsys.readouterr().out)
    assert len(record["candidates"]) == 3
    for candidate in record["candidates"]:
        parts = (candidate["relevance"] or 0) + (candidate["support"] or 0) + 0.25 * (candidate["utility"] or 0)
        assert candidate["score"] == pytest.approx(candidate["probability"] + parts)
    ask(options)
    lines = [line for line in capsys.readouterr().out.splitlines() if " = " in line]
    assert len(lines) == 3 and sum(line.strip().startswith(">") for line in lines) == 1
    assert f"{record['score']:.3f}" in next(line for line in lines if line.strip().startswith(">"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--depth", "3"],
            "critique=False: the weights, closed_set, depth, width and ignore_continue need --critique",
        ),
        (["--critique", "--stream"], "stream=True: with critique, the answer is known only at the end"),
        (["--critique", "--width", "0"], "width=0 must be at least 1"),
        (["--critique", "--closed-set", "--depth", "2"], "depth=2 must be 1"),
    ],
)
def test_options_that_do_not_go_together(checkpoint: Path, options: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ask(["Who?", "--model", str(checkpoint), "--device", "cpu", *options])


def test_evaluation_of_answers_only() -> None:
    with pytest.raises(ValueError, match="critique is for task=rag without gold_passages"):
        EvaluateArguments(dataset=["x"], output_dir="out", critique=True, task="retrieval")
    options = EvaluateArguments(dataset=["x"], output_dir="out", critique=True, depth=3)
    assert options.critique_settings().depth == 3
    assert EvaluateArguments(dataset=["x"], output_dir="out").critique_settings() is None
