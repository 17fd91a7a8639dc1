"""
What a step makes lies on the model's device. The device "meta" stands for an accelerator: it computes nothing, but as
much as CUDA it refuses most operations with a tensor that lies elsewhere.
"""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from onegen_hf.generation.choice import _ban, _places
from onegen_hf.generation.memory import PackedMemory, SequentialMemory


@pytest.mark.parametrize("architecture", ["llama_tied", "gemma2"])
@torch.no_grad()
def test_packed_rows(setup_for: Any, architecture: str) -> None:
    model = copy.deepcopy(setup_for(architecture).model).to("meta")
    memory = PackedMemory(model, [0, 1, 2])
    prompts = memory.append([0, 1, 2], [[5, 6, 7], [8], [9, 5]])
    steps = memory.append([0, 1, 2], [[5], [6], [7]])
    memory.retain([2, 0])
    mixed = memory.append([2, 0], [[5, 6, 7], [8]], [[0], []], [1, 0])
    for output, rows in ((prompts, 3), (steps, 3), (mixed, 2)):
        assert output.logits.shape[0] == output.hidden.shape[0] == rows
        for part in (output.logits, output.hidden, *output.states, *output.drafted):
            assert part.device.type == "meta"
    assert [len(own) for own in mixed.states] == [1, 0] and [len(own) for own in mixed.drafted] == [1, 0]


@torch.no_grad()
def test_row_by_row(setup_for: Any) -> None:
    model = copy.deepcopy(setup_for("llama_tied").model).to("meta")
    model.set_attn_implementation("eager")  # the mask of sdpa depends on values
    memory = SequentialMemory(model, [0, 1])
    output = memory.append([0, 1], [[5, 6], [7]], [[0], []])
    assert output.logits.device.type == output.hidden.device.type == "meta"


@pytest.mark.parametrize("banned", [[[1], []], torch.zeros(2, 7, dtype=torch.bool)], ids=["ids", "mask"])
def test_bans(banned: Any) -> None:
    scores = torch.zeros(2, 7, device="meta")
    assert _ban(scores, _places(banned, scores.device)).device.type == "meta"
