"""Int8 layers: what they compute, that rows keep to themselves, and what a quantised model refuses."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from support.decoding_setup import PROMPTS, Setup
from support.tiny_models import tiny_backbone, tiny_model
from torch import nn

from onegen_hf import OneGenRagPipeline, PassageIndex
from onegen_hf.generation.memory import PackedMemory
from onegen_hf.index import text_search
from onegen_hf.modeling.int8 import (
    ENGINE,
    Int8Linear,
    Int8Part,
    SharedProducts,
    has_integer_products,
    merge_layers,
    quantize_for_cpu,
)
from onegen_hf.pipelines.checkpoint import with_device

pytestmark = pytest.mark.skipif(not has_integer_products(), reason=f"this torch has no {ENGINE} engine")


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1, 64), (2, 5, 64), (0, 64)])
def test_equals_the_float_layer_but_for_rounding(bias: bool, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    layer, states = nn.Linear(64, 48, bias=bias), torch.randn(shape)
    result, exact = Int8Linear(layer.weight, layer.bias)(states), layer(states)
    assert result.shape == exact.shape
    assert (result - exact).norm() <= 0.02 * exact.norm()


def test_a_row_does_not_depend_on_its_neighbours() -> None:
    torch.manual_seed(0)
    layer = Int8Linear(torch.randn(48, 64))
    states = torch.randn(5, 64) * torch.tensor([1e-3, 1.0, 1e3, 1.0, 0.0]).unsqueeze(1)
    together = layer(states)
    for row in range(5):
        assert torch.equal(together[row : row + 1], layer(states[row : row + 1]))
    assert torch.equal(together[4], torch.zeros(48))


def test_known_channels_with_large_values_cost_less_precision() -> None:
    torch.manual_seed(0)
    weight, states = torch.randn(48, 64), torch.randn(100, 64)
    states[:, 7] *= 50
    exact = states @ weight.T
    plain = Int8Linear(weight)(states) - exact
    smoothed = Int8Linear(weight, largest=states.abs().amax(dim=0))(states) - exact
    assert smoothed.norm() < 0.5 * plain.norm()


@pytest.mark.parametrize("architecture", ["llama_tied", "llama_untied", "gemma2", "gpt2", "qwen3_moe"])
def test_embeddings_stay_near_and_all_linear_layers_are_replaced(tokenizer: Any, architecture: str) -> None:
    model = tiny_model(tokenizer, architecture)
    ids = torch.arange(20, 40).unsqueeze(0)
    quantized = quantize_for_cpu(copy.deepcopy(model).bfloat16())
    assert quantized.dtype == torch.float32 and not quantized.training
    assert not [name for name, module in quantized.named_modules() if type(module) is nn.Linear]
    exact, near = (m(input_ids=ids, retrieval_positions=[[19]]).retrieval_embeddings[0, 0] for m in (model, quantized))
    assert torch.cosine_similarity(exact, near, dim=0) > 0.98


@pytest.mark.parametrize(
    ("architecture", "together"),
    [
        ("llama_tied", {("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"), ("o_proj",), ("down_proj",)}),
        ("gpt2", {("c_attn",), ("c_proj",), ("c_fc",)}),
    ],
)
def test_layers_that_read_the_same_are_one(tokenizer: Any, architecture: str, together: set[tuple[str, ...]]) -> None:
    model = quantize_for_cpu(tiny_model(tokenizer, architecture))
    names: dict[nn.Module, tuple[str, ...]] = {}
    for name, module in model.named_modules():
        if isinstance(module, Int8Part):
            names[module.shared] = (*names.get(module.shared, ()), name.rpartition(".")[2])
        elif isinstance(module, Int8Linear) and not name.endswith("shared.layer"):
            names[module] = (name.rpartition(".")[2],)
    assert set(names.values()) - {("lm_head",)} == together


def test_parts_are_the_layers_whatever_the_order_of_calls() -> None:
    torch.manual_seed(0)
    layers = [nn.Linear(64, size, bias=bool(size % 2)) for size in (48, 17, 33)]
    merged = merge_layers(layers, None)
    shared = SharedProducts(merged, [layer.out_features for layer in layers])
    parts = [Int8Part(shared, number) for number in range(3)]
    one, other = torch.randn(2, 5, 64), torch.randn(2, 5, 64)
    for states in (one, other, one):
        for number in (0, 1, 2):
            exact = Int8Linear(layers[number].weight, layers[number].bias)(states)
            assert torch.equal(parts[number](states), exact)
    for number, states in ((0, one), (1, other), (1, one), (2, other), (0, other), (2, one)):
        assert torch.equal(parts[number](states), merged(states).split(shared.sizes, dim=-1)[number])


def test_a_batch_gives_what_single_rows_give(setup_for: Any) -> None:
    setup: Setup = setup_for("llama_tied")
    quantized = Setup(quantize_for_cpu(copy.deepcopy(setup.model)), setup.tokenizer, setup.index)
    together = quantized.run(PROMPTS).rows
    for prompt, row in zip(PROMPTS, together, strict=True):
        assert row.ids == quantized.run([prompt]).rows[0].ids
        assert len(row.retrievals) == 2


@torch.no_grad()
def test_states_do_not_depend_on_how_many_tokens_are_read_at_a_time(setup_for: Any) -> None:
    """Not in their last bit, which the next layer may turn into a step of 8 bits."""
    model = quantize_for_cpu(copy.deepcopy(setup_for("llama_tied").model))
    ids = torch.randint(4, 300, (2, 90), generator=torch.Generator().manual_seed(0)).tolist()

    def read(sizes: list[int], rows: int) -> torch.Tensor:
        memory, start, states = PackedMemory(model, list(range(rows))), 0, []
        for size in sizes:
            chunks = [ids[0][start : start + size], ids[1][:3]][:rows]
            positions = [list(range(size)), []][:rows]
            states += memory.append(list(range(rows)), chunks, positions, among_few=True).states[:1]
            start += size
        return torch.cat(states)

    expected = read([50, 40], rows=1)
    for sizes in ([90], [50, *[1] * 40], [50, 7, 3, 30], [50, 24, 16]):
        for rows in (1, 2):
            assert torch.equal(read(sizes, rows), expected)


def test_a_quantised_model_can_build_an_index(setup_for: Any) -> None:
    setup: Setup = setup_for("llama_tied")
    quantized = quantize_for_cpu(copy.deepcopy(setup.model))
    index = PassageIndex.build(quantized, setup.tokenizer, list(setup.index))
    index.check_model(quantized, setup.tokenizer)
    assert len(index) == len(setup.index)


def test_an_index_accepts_less_from_a_quantised_model(setup_for: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    setup: Setup = setup_for("llama_tied")
    quantized = quantize_for_cpu(copy.deepcopy(setup.model))
    monkeypatch.setattr(text_search, "SAME_MODEL_COSINE", 1.1)  # of which no model is capable
    setup.index.check_model(quantized, setup.tokenizer)
    with pytest.raises(ValueError, match="other weights"):
        setup.index.check_model(setup.model, setup.tokenizer)
    monkeypatch.setattr(text_search, "INT8_MODEL_COSINE", 1.1)
    with pytest.raises(ValueError, match="other weights"):
        setup.index.check_model(quantized, setup.tokenizer)


def test_what_it_refuses(tokenizer: Any, tmp_path: Any) -> None:
    with pytest.raises(TypeError, match="merge adapters"):
        quantize_for_cpu(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="runs? on the CPU only"):
        quantize_for_cpu(tiny_backbone().to("meta"))
    quantized = quantize_for_cpu(tiny_model(tokenizer))
    with pytest.raises(ValueError, match="quantised already"):
        quantize_for_cpu(quantized)
    with pytest.raises(ValueError, match="not serializable"):
        quantized.save_pretrained(tmp_path)


def test_a_pipeline_leaves_it_on_the_cpu(tokenizer: Any) -> None:
    quantized, plain = quantize_for_cpu(tiny_model(tokenizer)), tiny_model(tokenizer)
    assert with_device({"model": quantized, "index": 1}) == {"model": quantized, "index": 1, "device": "cpu"}
    assert with_device({}, quantized, tokenizer) == with_device({"device": -1}, quantized) == {"device": "cpu"}
    assert with_device({"device": "cuda:1", "model": plain}) == {"device": "cuda:1", "model": plain}
    with pytest.raises(ValueError, match="device='cuda:1': the model's layers are int8"):
        OneGenRagPipeline(model=quantized, tokenizer=tokenizer, device="cuda:1")
    with pytest.raises(ValueError, match="device=0: (the model's layers are int8|this machine has 0 accelerators)"):
        OneGenRagPipeline(model=quantized, tokenizer=tokenizer, device=0)


def test_a_torch_without_integer_products_is_named(monkeypatch: Any) -> None:
    monkeypatch.setattr("onegen_hf.modeling.int8.ENGINE", "none of these")
    with pytest.raises(ValueError, match="use dtype='bfloat16'"):
        quantize_for_cpu(tiny_backbone())
