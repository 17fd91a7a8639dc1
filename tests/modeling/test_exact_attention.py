"""Attention whose results do not depend, to the bit, on how many tokens attend at a time."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from support.tiny_models import tiny_model

from onegen_hf.generation.memory import PackedMemory
from onegen_hf.modeling.causal_mask import causal_mask
from onegen_hf.modeling.exact_attention import (
    UNEVEN,
    exact_attention,
    padded_keys,
    padded_queries,
    uneven_sizes,
)
from onegen_hf.modeling.int8 import ENGINE, has_integer_products, quantize_for_cpu


@pytest.mark.parametrize(
    ("visible", "padded"),
    [(1, 16), (16, 16), (192, 192), (193, 384), (383, 384), (384, 384), (385, 400), (513, 528), (705, 896)],
)
def test_keys_are_padded_to_sizes_that_sum_alike(visible: int, padded: int) -> None:
    assert padded_keys(visible, UNEVEN[0]) == padded


@pytest.mark.parametrize(("visible", "padded"), [(256, 256), (257, 512), (300, 512), (513, 528), (769, 1024)])
def test_keys_are_padded_to_other_sizes_with_other_vectors(visible: int, padded: int) -> None:
    assert padded_keys(visible, UNEVEN[1]) == padded


@pytest.mark.parametrize("uneven", UNEVEN, ids=["avx2", "avx512"])
@pytest.mark.parametrize(("start", "size"), [(33, 7), (0, 150), (260, 131)])
def test_is_attention(start: int, size: int, uneven: range) -> None:
    """Also where queries attend in several parts, and two rows are at other positions."""
    generator = torch.Generator().manual_seed(0)
    starts = torch.tensor([[start], [max(start - 20, 0)]])
    visible = start + size
    query, key, value = (torch.randn(2, heads, visible, 16, generator=generator) for heads in (4, 2, 2))
    query = query[:, :, :size]
    positions = starts + torch.arange(padded_queries(size)).clamp(max=size - 1)  # (2, padded size)
    mask = causal_mask(positions, padded_keys(visible, uneven), None, torch.float32)
    states = exact_attention(query, key, value, mask, 0.3, visible, uneven)
    keys, values = (part.repeat_interleave(2, dim=1).double() for part in (key, value))
    scores = (query.double() @ keys.mT) * 0.3
    seen = (torch.arange(visible) <= positions[:, :size].unsqueeze(2)).unsqueeze(1)
    expected = scores.masked_fill(~seen, -torch.inf).softmax(dim=-1) @ values
    torch.testing.assert_close(states.double(), expected.transpose(1, 2), rtol=1e-5, atol=1e-5)


@pytest.mark.skipif(not has_integer_products(), reason=f"this torch has no {ENGINE} engine")
@pytest.mark.parametrize("alike", [True, False], ids=["padded", "float64"])
@pytest.mark.parametrize("architecture", ["llama_tied", "qwen3"])
@torch.no_grad()
def test_rows_of_any_length(tokenizer: Any, architecture: str, alike: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Across the lengths where a storage ends and where sums are computed in another order."""
    if not alike:
        monkeypatch.setattr("onegen_hf.modeling.row_attention.uneven_sizes", lambda head_dim: None)
    elif uneven_sizes(16) is None:
        pytest.skip("float32 does not sum alike on this processor, so that float64 is taken")
    model = quantize_for_cpu(copy.deepcopy(tiny_model(tokenizer, architecture)))
    model.config.max_position_embeddings = 1024
    ids = torch.randint(4, 300, (560,), generator=torch.Generator().manual_seed(0)).tolist()

    def read(sizes: list[int], others: int) -> torch.Tensor:
        memory, start, states = PackedMemory(model, list(range(1 + others))), 0, []
        for size in sizes:
            chunks = [ids[start : start + size], *[ids[:5]] * others]
            positions = [list(range(size)), *[[]] * others]
            states += memory.append(list(range(1 + others)), chunks, positions, among_few=True).states[:1]
            start += size
        return torch.cat(states)

    expected = read([560], others=0)
    for sizes, others in (([180, 1, 2, 30, 47, 130, 1, 119, 50], 0), ([190, 66, 3, 250, 51], 1)):
        assert torch.equal(read(sizes, others), expected)
