"""Attention over the rows of a cache in one padded call, against one call for each group of rows."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.sample_corpus import build_tokenizer
from support.tiny_models import tiny_model

from onegen_hf.generation.memory import PackedMemory
from onegen_hf.modeling import row_attention as module
from onegen_hf.modeling.row_attention import RowsMask, groups_of, padded_rows, row_attention

CPU = torch.device("cpu")


def attention_layer() -> Any:
    """An attention layer of a tiny Llama: four heads of queries, two of keys."""
    return tiny_model(build_tokenizer(), "llama_tied").model.layers[0].self_attn


ROWS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 20), st.integers(1, 7)), min_size=1, max_size=6
)  # gap before the slot, tokens held, tokens added


@settings(max_examples=40, deadline=None)
@given(ROWS, st.sampled_from(["sdpa", "eager"]), st.sampled_from([None, 3, 9]))
def test_equal_to_groups_of_rows(rows: list[tuple[int, int, int]], implementation: str, window: int | None) -> None:
    torch.manual_seed(0)
    slots = [sum(gap for gap, _, _ in rows[: row + 1]) + row for row in range(len(rows))]
    starts, sizes = [start for _, start, _ in rows], [size for _, _, size in rows]
    query = torch.randn(1, 4, sum(sizes), 8)
    key, value = torch.randn(2, slots[-1] + 2, 2, 32, 8)
    layer = attention_layer()
    layer.config.plain._attn_implementation = implementation
    options = {"scaling": 0.3, "sliding_window": window}
    mask = RowsMask.of(groups_of(slots, starts, sizes), cached=True, device=CPU)
    expected, _ = row_attention(layer, query, key, value, mask, **options)
    mask.padded = padded_rows(mask.groups, CPU)
    states, _ = row_attention(layer, query, key, value, mask, **options)
    torch.testing.assert_close(states, expected)


def test_only_for_many_groups_on_a_gpu() -> None:
    many = groups_of(range(5), [0] * 5, [1, 2, 3, 4, 5])
    assert module.pads_rows(many, torch.device("cuda"))
    assert not module.pads_rows(many, CPU)
    assert not module.pads_rows(groups_of(range(5), [3, 1, 2, 9, 4], [1] * 5), torch.device("cuda"))
    assert RowsMask.of(many, cached=True, device=CPU).padded is None


def test_a_batch_reads_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model(build_tokenizer(), "llama_tied").eval()
    generator = torch.Generator().manual_seed(0)
    steps = [[3, 7, 1, 5, 2, 6], [1, 1, 4, 1, 2, 1], [1] * 6, [2, 1, 1, 3, 1, 1]]
    chunks = [[torch.randint(20, 60, (n,), generator=generator).tolist() for n in sizes] for sizes in steps]

    def logits() -> list[torch.Tensor]:
        memory = PackedMemory(model, list(range(6)))
        with torch.inference_mode():
            return [memory.append(list(range(6)), step).logits for step in chunks]

    expected = logits()
    calls = []
    original = module.padded_rows
    monkeypatch.setattr(module, "pads_rows", lambda groups, device: len(groups) > 1)
    monkeypatch.setattr(module, "padded_rows", lambda *rows: calls.append(rows) or original(*rows))
    for actual, wanted in zip(logits(), expected, strict=True):
        torch.testing.assert_close(actual, wanted)
    assert len(calls) == 3
