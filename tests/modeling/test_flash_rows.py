"""Models with flash attention pack their rows; the kernel itself runs on GPUs, what it is called with everywhere."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from support.stand_in_kernels import FlashAttention
from support.tiny_models import tiny_model

from onegen_hf.generation.memory import PackedMemory, Reading, SequentialMemory, reading_of
from onegen_hf.generation.memory.packed import packs_by_its_layers
from onegen_hf.modeling.packing import packs_rows

NAMES = ["flash_attention_2", "flash_attention_3", "kernels-community/flash-attn2"]
ROWS = [[3, 9, 4, 17, 5, 22, 8, 31, 2, 40, 6, 11], [7, 12, 50, 33, 19], [5, 6, 7]]
PIECES = [[4, 1, 1, 6], [2, 1, 1, 1], [1, 1, 1, 0]]
"""Prompts, two single tokens, and a passage beside a single token; the last row pauses then."""


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> FlashAttention:
    stand_in = FlashAttention()
    stand_in.install(monkeypatch)
    return stand_in


def with_attention(model: Any, implementation: str) -> Any:
    """A copy with another attention; `set_attn_implementation` asks for the installed package."""
    model = copy.deepcopy(model)
    model.config._attn_implementation = implementation
    return model


@pytest.fixture(params=["llama_tied", "mistral", "qwen3"])
def model(request: Any, base_tokenizer: Any) -> Any:
    return tiny_model(copy.deepcopy(base_tokenizer), request.param)


@pytest.mark.parametrize("name", NAMES)
def test_a_training_step_is_one_packed_forward(make: Any, name: str, kernels: FlashAttention) -> None:
    tiny = make("llama_tied")
    steps = []
    for model in (tiny.model, with_attention(tiny.model, name)):
        model.train()
        assert packs_rows(model, 100)
        output = model(**tiny.batch)
        output.loss.backward()
        steps.append((output, {n: p.grad for n, p in model.named_parameters() if p.grad is not None}))
    (expected, expected_gradients), (output, gradients) = steps
    # Conversations and passages together, once in each of two layers.
    assert kernels.calls == ["rows of any lengths"] * 2
    for loss in ("loss", "loss_gen", "loss_ret"):
        torch.testing.assert_close(getattr(output, loss), getattr(expected, loss), rtol=1e-5, atol=1e-6)
    for parameter, gradient in expected_gradients.items():
        torch.testing.assert_close(gradients[parameter], gradient, rtol=1e-4, atol=1e-5)


def read(memory: Any) -> list[torch.Tensor]:
    """Hidden states and logits after each piece of each row."""
    results, starts = [], [0] * len(ROWS)
    for sizes in zip(*PIECES, strict=True):
        rows = [row for row, size in enumerate(sizes) if size]
        chunks = [ROWS[row][starts[row] : starts[row] + sizes[row]] for row in rows]
        output = memory.append(rows, chunks)
        starts = [start + size for start, size in zip(starts, sizes, strict=True)]
        results += [output.hidden, output.logits]
    return results


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_decoding_is_batched(model: Any, name: str, kernels: FlashAttention) -> None:
    flash = with_attention(model, name)
    assert packs_by_its_layers(flash) and reading_of(flash) is Reading.PACKED
    kernels.calls.clear()
    results = read(PackedMemory(flash, [0, 1, 2]))
    assert kernels.calls == ["rows of any lengths"] * 2 * len(PIECES[0])  # one call in each layer for all rows
    for found, expected in zip(results, read(PackedMemory(model, [0, 1, 2])), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_a_kernel_that_fails_is_not_used(
    base_tokenizer: Any, kernels: FlashAttention, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows are then read one after the other, as before."""
    flash = with_attention(tiny_model(copy.deepcopy(base_tokenizer)), NAMES[0])
    monkeypatch.setattr(FlashAttention, "flash_attn_varlen_func", lambda self, q, *args, **kwargs: q * 0)
    kernels.install(monkeypatch)
    assert reading_of(flash) is Reading.CHUNKS


@torch.no_grad()
def test_plain_forwards_are_those_of_transformers(model: Any, kernels: FlashAttention) -> None:
    ids = torch.tensor([[5, 9, 2, 30, 7]])
    expected = model(ids).logits
    torch.testing.assert_close(with_attention(model, NAMES[0])(ids).logits, expected, rtol=1e-4, atol=1e-4)
    assert kernels.calls == ["rows of one length"] * 2


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_on_a_gpu(base_tokenizer: Any, name: str) -> None:
    model = tiny_model(copy.deepcopy(base_tokenizer), "qwen3").to("cuda", torch.bfloat16)
    flash = copy.deepcopy(model)
    try:
        flash.set_attn_implementation(name)
    except (ImportError, ValueError, OSError) as error:
        pytest.skip(f"{name}: {error}")
    assert reading_of(flash) is Reading.PACKED
    for found, expected in zip(
        read(PackedMemory(flash, [0, 1, 2])), read(SequentialMemory(model, [0, 1, 2])), strict=True
    ):
        assert (found - expected).float().norm() <= 3e-2 * expected.float().norm()
