"""The program for one GPU measures what it can, and says what it could not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from benchmarks import on_gpu
from benchmarks.gpu import models, zero3_lora
from benchmarks.gpu.models import joint_model, made_up_tokenizer


def fail() -> Any:
    raise RuntimeError("out of memory")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    def run_parts(parts: dict[str, Any], missing: tuple[str, ...] = (), seconds: float = 60.0) -> dict[str, Any]:
        def measurements(part: str, *args: Any) -> Any:
            yield from parts[part]().items()

        monkeypatch.setattr(on_gpu, "measurements", measurements)
        monkeypatch.setattr(on_gpu, "missing_packages", lambda part: ["faiss"] if part in missing else [])
        options = on_gpu.parse(["--quick", "--device", "cpu", "--output-dir", str(tmp_path)])
        options.parts, options.seconds = list(parts), seconds
        on_gpu.run(options)
        return json.loads((tmp_path / "on_gpu_quick.json").read_text(encoding="utf-8"))

    return run_parts


def test_what_fails_does_not_end_the_rest(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    found = run(
        {
            "training": lambda: {"small": lambda: {"ms": 1}, "large": fail, "last": lambda: {"ms": 2}},
            "decoding": fail,
            "encoding": lambda: {"tiny": lambda: 3},
        },
        missing=("encoding",),
    )
    error = {"error": "RuntimeError: out of memory"}
    assert found["training"] == {"small": {"ms": 1}, "large": error, "last": {"ms": 2}}
    assert found["decoding"] == error
    assert found["encoding"] == "left out: not installed: faiss" and found["missing_packages"] == {
        "encoding": ["faiss"]
    }
    assert capsys.readouterr().out.startswith("encoding is left out: not installed: faiss")


def test_parts_without_time_are_named(run: Any) -> None:
    assert run({"training": lambda: {"small": fail}}, seconds=-1.0)["training"] == "left out: no time"


def test_packages_that_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_gpu, "find_spec", lambda name: None if name in ("faiss", "pytest") else object())
    assert [part for part in on_gpu.PARTS if on_gpu.missing_packages(part)] == ["tests"]
    found = on_gpu.run_tests("tests/generation/test_recorded_step.py", on_gpu.Budget(60.0))
    assert found == "left out: not installed: faiss"


def test_every_part_is_there() -> None:
    budget = on_gpu.Budget(60.0)
    for part in ("training", "decoding", "encoding", "tests"):
        names = [name for name, _ in on_gpu.measurements(part, "cpu", torch.float32, budget, True)]
        assert names, part


def test_a_tokenizer_from_anywhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(models, "DEFAULT_CHECKPOINT", tmp_path / "nowhere")
    monkeypatch.setattr(models, "DEFAULT_LINKER", tmp_path / "nowhere")
    models._tokenizer.cache_clear()
    try:
        words = models.tokenizer()
        assert words("w7 w8")["input_ids"] == [7, 8] and len(words) > 49152
        model = joint_model("tiny", "cpu", torch.float32)
        model.check_tokenizer(words)
    finally:
        models._tokenizer.cache_clear()


def test_words_of_the_made_up_tokenizer() -> None:
    words = made_up_tokenizer(50)
    assert words.decode(words("w9 w10 no")["input_ids"]) == "w9 w10 <unk>"


def test_the_step_of_one_process_that_zero3_is_compared_with(tmp_path: Path) -> None:
    zero3_lora.train(tmp_path, 4, 4, use_cpu=True)
    saved = load_file(tmp_path / "adapter_model.safetensors")
    assert len(saved) == 2 * 2 * 2 + 1 and any("lora_B" in name and value.any() for name, value in saved.items())
