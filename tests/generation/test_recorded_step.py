"""Recorded steps compute what ordinary ones do: on a CPU they run where they would be replayed."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from support.decoding_setup import PROMPTS, assert_same_row

from onegen_hf.generation.memory import PackedMemory, recorded_step
from onegen_hf.generation.memory.recorded_step import RecordedStep, StepRecorder, may_be_recorded

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rows of each step that would be replayed."""
    replayed: list[int] = []
    call = RecordedStep.__call__

    def count(step: RecordedStep, inputs: torch.Tensor) -> Any:
        replayed.append(step.rows)
        return call(step, inputs)

    monkeypatch.setattr(recorded_step, "may_be_recorded", lambda _: True)
    monkeypatch.setattr(recorded_step, "RECORD_AFTER", 1)
    monkeypatch.setattr(RecordedStep, "record", RecordedStep.run)
    monkeypatch.setattr(RecordedStep, "__call__", count)
    return replayed


@pytest.mark.parametrize("architecture", ["llama_tied", "mistral", "gemma2", "qwen3_moe"])
def test_generations_are_the_same(
    architecture: str, setup_for: Any, monkeypatch: pytest.MonkeyPatch, recorded: list[int]
) -> None:
    setup = setup_for(architecture)
    found = setup.run(PROMPTS, hops=1, max_new_tokens=30, max_rows=3)
    assert len(recorded) > 20 and len(set(recorded)) > 1
    monkeypatch.setattr(recorded_step, "may_be_recorded", lambda _: False)
    for row, expected in zip(found.rows, setup.run(PROMPTS, hops=1, max_new_tokens=30, max_rows=3).rows, strict=True):
        assert_same_row(row, expected)


def test_a_step_is_recorded_again_when_storage_moves(setup_for: Any, recorded: list[int]) -> None:
    model = setup_for("llama_tied").model
    memory = PackedMemory(model, [0, 1])
    memory.cache.capacity = memory.cache.least_capacity = 8
    other = PackedMemory(model, [0, 1])
    other.recorder = lambda *_: None  # type: ignore[assignment]
    chunks = [[5, 6, 7], [8]]
    seen = []
    with torch.no_grad():
        for number in range(16):
            outputs = [each.append([0, 1], chunks) for each in (memory, other)]
            torch.testing.assert_close(outputs[0].logits, outputs[1].logits, rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(outputs[0].hidden, outputs[1].hidden, rtol=1e-4, atol=1e-4)
            chunks = [[number + 9], [number + 20]]
            seen.append(next(iter(memory.recorder.steps.values()), None))
    assert memory.cache.capacity == 32
    assert len({id(step) for step in seen if step is not None}) >= 2 and len(recorded) > 6


def test_where_nothing_is_recorded(setup_for: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert recorded_step.RECORD_AFTER is None  # only where it is asked for
    monkeypatch.setattr(recorded_step, "RECORD_AFTER", 2)
    model = setup_for("llama_tied").model
    assert not may_be_recorded(model)  # a CPU
    memory = PackedMemory(model, [0])
    assert StepRecorder(model, memory.cache)(1, torch.tensor([[5], [0]])) is None


@needs_gpu
@pytest.mark.parametrize("architecture", ["llama_tied", "mistral", "gemma2"])
def test_graphs_on_a_gpu(architecture: str, setup_for: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorded_step, "RECORD_AFTER", 2)
    model = copy.deepcopy(setup_for(architecture).model).to("cuda").eval()
    memory, other = PackedMemory(model, [0, 1]), PackedMemory(model, [0, 1])
    other.recorder = lambda *_: None  # type: ignore[assignment]
    chunks = [[5, 6, 7], [8]]
    with torch.no_grad():
        for number in range(12):
            logits, expected = (each.append([0, 1], chunks).logits for each in (memory, other))
            torch.testing.assert_close(logits, expected, rtol=1e-3, atol=1e-3)
            chunks = [[number + 9], [number + 20]]
    assert [step.graph is not None for step in memory.recorder.steps.values()] == [True]
