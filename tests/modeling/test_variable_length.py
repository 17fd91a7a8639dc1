"""Attention over rows of any lengths: torch's kernel where there is a GPU, what it is called with everywhere."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from support.sample_corpus import DOCUMENTS, EXAMPLES
from support.tiny_models import tiny_model
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from onegen_hf import OneGenDataCollator
from onegen_hf.modeling import packing, row_attention, variable_length
from onegen_hf.modeling.row_attention import RowsMask, groups_of
from onegen_hf.modeling.variable_length import boundaries, takes_variable_lengths, variable_length_attention

LENGTHS = [3, 1, 6]
needs_gpu = pytest.mark.skipif(
    not torch.cuda.is_available() or not takes_variable_lengths(torch.device("cuda"), torch.bfloat16, 64),
    reason="needs a GPU of compute capability 8.0 and torch 2.10",
)


def row_by_row(query: Tensor, key: Tensor, value: Tensor, window: int | None, scale: float | None) -> Tensor:
    """Plain attention of each row: `(1, tokens, heads, head_dim)`."""
    parts, start = [], 0
    for length in LENGTHS:
        q, k, v = (states[:, :, start : start + length] for states in (query, key, value))
        distance = torch.arange(length)[:, None] - torch.arange(length)[None]
        seen = (distance >= 0) & (distance < (window or length))
        parts.append(scaled_dot_product_attention(q, k, v, seen.to(q.device), scale=scale, enable_gqa=True))
        start += length
    return torch.cat(parts, dim=2).transpose(1, 2)


def states(key_heads: int, dtype: torch.dtype = torch.float32, device: str = "cpu") -> list[Tensor]:
    torch.manual_seed(0)
    heads = (4, key_heads, key_heads)
    return [torch.randn(1, h, sum(LENGTHS), 64, device=device).to(dtype).requires_grad_() for h in heads]


def stand_in(names: set[str]) -> Any:
    """A slow kernel with the arguments of one version of torch, which knows nothing of the others."""

    def attend(
        q: Tensor, k: Tensor, v: Tensor, starts: Tensor, _: Tensor, longest: int, __: int, **options: Any
    ) -> Any:
        assert set(options) <= names and longest == max(LENGTHS)
        assert q.shape[1] == k.shape[1] or options.get("enable_gqa")
        left, right = options.get("window_size", (-1, 0))
        assert right == 0 and options.get("is_causal", True)
        assert starts.dtype == torch.int32 and starts.diff().tolist() == LENGTHS
        packed = [s.transpose(0, 1).unsqueeze(0) for s in (q, k, v)]
        return row_by_row(*packed, None if left < 0 else left + 1, options.get("scale"))[0]  # type: ignore[arg-type]

    return attend, frozenset(names)


@pytest.mark.parametrize("key_heads", [4, 2])
@pytest.mark.parametrize(
    ("names", "window"),
    [({"is_causal"}, None), ({"scale", "window_size"}, 2), ({"scale", "window_size", "enable_gqa"}, None)],
    ids=["torch-2.10", "torch-2.11", "torch-2.13"],
)
@pytest.mark.parametrize("scaling", [None, 0.3])
def test_every_version_of_the_kernel_is_called_as_it_expects(
    names: set[str], window: int | None, key_heads: int, scaling: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(variable_length, "kernel", lambda: stand_in(names))
    query, key, value = states(key_heads)
    starts = boundaries(LENGTHS, query.device)
    found = variable_length_attention(query, key, value, starts, max(LENGTHS), window, scaling)
    torch.testing.assert_close(found, row_by_row(query, key, value, window, scaling), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("device", "dtype", "head_dim"),
    [("cpu", torch.bfloat16, 64), ("cuda", torch.float32, 64), ("cuda", torch.bfloat16, 60),
     ("cuda", torch.bfloat16, 512)],
)  # fmt: skip
def test_where_the_kernel_is_not_asked(device: str, dtype: torch.dtype, head_dim: int) -> None:
    assert not takes_variable_lengths(torch.device(device), dtype, head_dim)


def test_old_gpus_and_old_versions_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (7, 5))
    assert not takes_variable_lengths(torch.device("cuda"), torch.float16, 64)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    assert takes_variable_lengths(torch.device("cuda"), torch.float16, 64)
    monkeypatch.setattr(variable_length, "kernel", lambda: None)
    assert not takes_variable_lengths(torch.device("cuda"), torch.float16, 64)


def test_the_dtype_of_products_follows_autocast() -> None:
    cpu = torch.device("cpu")
    assert variable_length.computed_dtype(torch.float32, cpu) == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        assert variable_length.computed_dtype(torch.float32, cpu) == torch.bfloat16
        assert variable_length.computed_dtype(torch.float16, cpu) == torch.float16


def test_packed_rows_of_a_layer_take_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU: the mask holds where rows begin, and the kernel takes the dtype."""
    monkeypatch.setattr(variable_length, "kernel", lambda: stand_in({"scale", "window_size", "enable_gqa"}))
    monkeypatch.setattr(row_attention, "takes_variable_lengths", lambda *_: True)
    query, key, value = states(2)
    mask = RowsMask.of(groups_of([0, 1, 2], [0, 0, 0], LENGTHS), cached=False, device=query.device)
    layer = SimpleNamespace(config=SimpleNamespace(plain=SimpleNamespace(_attn_implementation="sdpa")), training=False)
    layer.num_key_value_groups, layer.is_causal = 2, True
    expected = row_attention.row_attention(layer, query, key, value, mask)[0]  # type: ignore[arg-type]
    mask.starts = boundaries(LENGTHS, query.device)
    found, weights = row_attention.row_attention(layer, query, key, value, mask)  # type: ignore[arg-type]
    assert weights is None and found.shape == expected.shape
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@needs_gpu
@pytest.mark.parametrize("window", [None, 2])
@pytest.mark.parametrize("key_heads", [4, 2])
def test_the_kernel_on_a_gpu(key_heads: int, window: int | None) -> None:
    tensors = states(key_heads, torch.bfloat16, "cuda")
    starts = boundaries(LENGTHS, tensors[0].device)
    found = variable_length_attention(*tensors, starts, max(LENGTHS), window)  # type: ignore[misc]
    expected = row_by_row(*tensors, window, None)  # type: ignore[misc]
    torch.testing.assert_close(found, expected, rtol=0.02, atol=0.02)
    upstream = torch.randn_like(expected)
    for got, wanted in zip(
        torch.autograd.grad(found, tensors, upstream), torch.autograd.grad(expected, tensors, upstream), strict=True
    ):
        torch.testing.assert_close(got, wanted, rtol=0.05, atol=0.05)


@needs_gpu
def test_packed_rows_on_a_gpu_are_those_with_padding(base_tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model(copy.deepcopy(base_tokenizer), "qwen3").to("cuda", torch.bfloat16).eval()
    ids = torch.arange(12, device="cuda").view(2, 6) + 5
    mask = torch.tensor([[1] * 6, [1] * 3 + [0] * 3], device="cuda")
    where = torch.tensor([[5], [2]], device="cuda")
    assert packing.packs_rows(model, 6)
    with torch.no_grad():
        packed = model.embed(ids, mask, where)
        monkeypatch.setattr(packing, "takes_variable_lengths", lambda *_: False)
        assert not packing.packs_rows(model, 6)
        padded = model.embed(ids, mask, where)
    torch.testing.assert_close(packed, padded, rtol=0.05, atol=0.05)


@needs_gpu
def test_one_forward_on_a_gpu_equals_two(base_tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = copy.deepcopy(base_tokenizer)
    model = tiny_model(tokenizer, "qwen3").to("cuda", torch.bfloat16).train()
    batch = {name: part.to("cuda") for name, part in OneGenDataCollator(tokenizer, DOCUMENTS)(EXAMPLES[:4]).items()}
    found = []
    for packs in (True, False):
        monkeypatch.setattr(packing, "takes_variable_lengths", takes_variable_lengths if packs else lambda *_: False)
        output = model(**batch)
        output.loss.backward()
        gradient = torch.cat([p.grad.float().flatten() for p in model.parameters() if p.grad is not None])
        found.append((output.loss.item(), output.passage_embeddings.float(), gradient))
        model.zero_grad()
    (loss, passages, gradient), (other_loss, other_passages, other_gradient) = found
    assert loss == pytest.approx(other_loss, rel=0.02)
    torch.testing.assert_close(passages, other_passages, rtol=0.1, atol=0.1)
    assert torch.cosine_similarity(gradient, other_gradient, dim=0) > 0.99
