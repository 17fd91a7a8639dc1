"""Rows without their padding: the same states, losses and gradients as with it."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from peft import LoraConfig
from support.sample_corpus import DOCUMENTS, EXAMPLES, build_tokenizer
from support.tiny_models import SIZES, tiny_model
from torch.nn.functional import scaled_dot_product_attention
from transformers import AutoModelForCausalLM, DogeConfig
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.llama.modeling_llama import eager_attention_forward

from onegen_hf import OneGenDataCollator, OneGenForCausalLM
from onegen_hf.modeling.packing import PackedRows, packed_rows, packs_rows
from onegen_hf.modeling.positions import gather_hidden
from onegen_hf.modeling.row_attention import RowsMask, groups_of, row_attention
from onegen_hf.training.trainer import add_adapter

LENGTHS = [9, 4, 4, 1, 12]


@pytest.fixture
def made(base_tokenizer: Any) -> SimpleNamespace:
    tokenizer = copy.deepcopy(base_tokenizer)
    model = tiny_model(tokenizer, "qwen3")
    return SimpleNamespace(
        tokenizer=tokenizer, model=model, batch=OneGenDataCollator(tokenizer, DOCUMENTS)(EXAMPLES[:4])
    )


def rows_of(lengths: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.randint(4, 400, (len(lengths), max(lengths)), generator=torch.Generator().manual_seed(1))
    return ids, (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()


def decoder_inputs(ids: torch.Tensor, mask: torch.Tensor) -> dict[str, Any]:
    return {"input_ids": ids, "attention_mask": mask, "use_cache": False, "logits_to_keep": mask.bool()}


def attention_layer() -> Any:
    """An attention layer of a tiny Llama: four heads of queries, two of keys."""
    return tiny_model(build_tokenizer(), "llama_tied").model.layers[0].self_attn


def without_packing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onegen_hf.modeling.mixin.packed_rows", lambda *_: None)
    monkeypatch.setattr("onegen_hf.modeling.mixin.packs_rows", lambda *_: False)


def gradients(model: Any, batch: dict[str, Any]) -> dict[str, torch.Tensor]:
    model.zero_grad()
    model(**batch).loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_attention_keeps_to_each_row() -> None:
    tokens = sum(LENGTHS)
    query, key, value = torch.randn(1, 4, tokens, 8), torch.randn(1, 2, tokens, 8), torch.randn(1, 2, tokens, 8)
    row = torch.repeat_interleave(torch.arange(len(LENGTHS)), torch.tensor(LENGTHS))
    dense = (row[:, None] == row) & torch.ones(tokens, tokens, dtype=torch.bool).tril()
    groups = groups_of(range(len(LENGTHS)), [0] * len(LENGTHS), LENGTHS)
    assert [(group.rows, group.size) for group in groups] == [(1, 9), (2, 4), (1, 1), (1, 12)]
    mask = RowsMask.of(groups, cached=False, device=query.device)
    layer = attention_layer()
    for implementation in ("sdpa", "eager"):
        layer.config.plain._attn_implementation = implementation
        for scaling in (0.5, 0.3):
            expected = scaled_dot_product_attention(
                query, key, value, attn_mask=dense, scale=scaling, enable_gqa=True
            ).transpose(1, 2)
            states, _ = row_attention(layer, query, key, value, mask, scaling=scaling)
            torch.testing.assert_close(states, expected)


def test_any_other_mask_is_the_models_own_attention() -> None:
    layer = attention_layer()
    query, key, value = (torch.randn(2, 4, 5, 8), torch.randn(2, 2, 5, 8), torch.randn(2, 2, 5, 8))
    for implementation in ("sdpa", "eager"):
        layer.config.plain._attn_implementation = implementation
        mask = torch.zeros(2, 1, 5, 5)
        expected = ALL_ATTENTION_FUNCTIONS.get_interface(implementation, eager_attention_forward)(
            layer, query, key, value, mask, scaling=0.5
        )
        for states, others in zip(row_attention(layer, query, key, value, mask, scaling=0.5), expected, strict=True):
            assert (states is None and others is None) or torch.equal(states, others)


def test_the_mask_takes_no_memory_and_is_never_read_as_numbers() -> None:
    mask = RowsMask.of(groups_of([0, 1], [0, 0], [5000, 5000]), cached=False, device=torch.device("cpu"))
    assert mask.shape == (1, 1, 10000, 10000)
    assert mask.untyped_storage().nbytes() == 1
    assert mask.to("cpu").detach().groups is mask.groups and not mask.to("cpu").cached
    small = RowsMask.of(groups_of([0, 1], [0, 0], [2, 1]), cached=False, device=torch.device("cpu"))
    with pytest.raises(NotImplementedError, match="not defined for the mask of packed rows"):
        torch.zeros(1, 4, 3, 3) + small
    with pytest.raises(NotImplementedError, match="mask of packed rows"):
        small[:, :, :, :2]


def test_the_configuration_of_a_model_stays_its_own() -> None:
    model = tiny_model(build_tokenizer(), "qwen3")
    layer = model.model.layers[0].self_attn
    assert model.config._attn_implementation == "sdpa" and layer.config._attn_implementation == "onegen_rows"
    assert layer.config.plain is model.config and layer.config.hidden_size == model.config.hidden_size
    model.set_attn_implementation("eager")
    assert model.config._attn_implementation == "eager" and layer.config._attn_implementation == "onegen_rows"
    copied = copy.deepcopy(model)
    assert copied.model.layers[0].self_attn.config.plain is copied.config is not model.config
    assert pickle.loads(pickle.dumps(layer.config)).hidden_size == model.config.hidden_size
    assert copied(torch.tensor([[5, 6]]), output_attentions=True).attentions[0].shape == (1, 4, 2, 2)


def test_pack_and_unpack() -> None:
    ids, mask = rows_of(LENGTHS)
    rows = PackedRows([LENGTHS], [max(LENGTHS)], ids.device)
    assert rows.lengths == LENGTHS
    packed = rows.pack(ids)
    assert packed.tolist() == [[t for row, length in zip(ids.tolist(), LENGTHS, strict=True) for t in row[:length]]]
    torch.testing.assert_close(rows.unpack(packed.unsqueeze(-1)).squeeze(-1), ids * mask)
    positions = rows.inputs([ids], [mask.bool()])["position_ids"]
    assert positions.tolist() == [[n for length in LENGTHS for n in range(length)]]


def test_states_of_two_batches() -> None:
    lengths = [LENGTHS, [2, 5]]
    batches = [rows_of(part) for part in lengths]
    rows = PackedRows(lengths, [12, 5], torch.device("cpu"))
    hidden = torch.randn(1, sum(map(sum, lengths)), 3)
    for number, (ids, mask) in enumerate(batches):
        padded = rows.unpack(hidden, number)
        assert padded.shape == (*ids.shape, 3) and not padded[mask == 0].any()
        for positions in (
            torch.tensor([[n - 1, 0, -1, ids.shape[1] - 1] for n in lengths[number]]),  # the last one may be padding
            torch.tensor([n - 1 for n in lengths[number]], dtype=torch.int32),
            torch.empty(len(ids), 0, dtype=torch.int64),
            mask.bool(),
        ):
            expected = gather_hidden(padded, positions)
            assert torch.equal(rows.gather(hidden, positions, number), expected)
    with pytest.raises(ValueError, match="position 5 lies outside the sequence of 5 tokens"):
        rows.gather(hidden, torch.tensor([[5], [0]]), 1)
    with pytest.raises(ValueError, match=r"expected \(2, n\)"):
        rows.gather(hidden, torch.tensor([[1]]), 1)


def test_real_tokens_go_through_the_decoder_in_one_forward(made: SimpleNamespace) -> None:
    sizes: list[int] = []
    made.model.get_decoder().layers[0].register_forward_pre_hook(
        lambda _, args: sizes.append(args[0].shape[:2].numel())
    )
    made.model(**made.batch)
    assert sizes == [sum(int(made.batch[name].sum()) for name in ("attention_mask", "passage_attention_mask"))]


def test_one_forward_equals_two(made: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Losses, embeddings and gradients of conversations and passages in one packed forward."""
    model, batch = made.model.train(), made.batch
    forwards: list[int] = []
    model.get_decoder().register_forward_hook(lambda *_: forwards.append(1))
    together, together_gradients = model(**batch), gradients(model, batch)
    assert len(forwards) == 2
    monkeypatch.setattr(model, "_decode", lambda _=None, **inputs: type(model)._decode(model, **inputs))
    apart, apart_gradients = model(**batch), gradients(model, batch)
    assert len(forwards) == 6
    for name in ("loss", "loss_gen", "loss_ret", "retrieval_embeddings", "passage_embeddings", "logits"):
        torch.testing.assert_close(getattr(together, name), getattr(apart, name), rtol=1e-5, atol=1e-5)
    assert together_gradients.keys() == apart_gradients.keys()
    for name, gradient in apart_gradients.items():
        torch.testing.assert_close(together_gradients[name], gradient, rtol=1e-5, atol=1e-5, msg=name)


def test_batches_without_padding_share_a_forward_too(made: SimpleNamespace) -> None:
    batch = OneGenDataCollator(made.tokenizer, DOCUMENTS)(EXAMPLES[:1])
    forwards: list[int] = []
    made.model.get_decoder().register_forward_hook(lambda *_: forwards.append(1))
    assert batch["attention_mask"].all()
    made.model(**batch)
    assert len(forwards) == 1


@pytest.mark.parametrize("checkpointing", [None, True, False], ids=["plain", "reentrant", "not reentrant"])
def test_gradients_equal_those_with_padding(
    made: SimpleNamespace, checkpointing: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = made.model.train()
    if checkpointing is not None:
        model.gradient_checkpointing_enable({"use_reentrant": checkpointing})
    packed = gradients(model, made.batch)
    without_packing(monkeypatch)
    padded = gradients(model, made.batch)
    assert packed.keys() == padded.keys()
    for name, gradient in padded.items():
        torch.testing.assert_close(packed[name], gradient, rtol=1e-3, atol=1e-5, msg=name)


def test_gradients_of_an_adapter(made: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    model = add_adapter(made.model, made.tokenizer, LoraConfig(r=4, target_modules="all-linear", lora_dropout=0.0))
    packed = gradients(model, made.batch)
    without_packing(monkeypatch)
    for name, gradient in gradients(model, made.batch).items():
        torch.testing.assert_close(packed[name], gradient, rtol=1e-3, atol=1e-5, msg=name)


def test_where_rows_are_packed(made: SimpleNamespace, base_tokenizer: Any) -> None:
    ids, mask = rows_of(LENGTHS)
    usable = decoder_inputs(ids, mask)
    assert packed_rows(made.model, usable) is not None
    for change in (
        {"attention_mask": torch.ones_like(mask)},
        {"attention_mask": mask.flip(1)},
        {"attention_mask": None},
        {"use_cache": True},
        {"logits_to_keep": 0},
        {"position_ids": torch.arange(12).expand(5, 12)},
        {"output_hidden_states": True},
    ):
        assert packed_rows(made.model, {**usable, **change}) is None, change
    eager = copy.deepcopy(made.model)
    eager.set_attn_implementation("eager")
    assert not packs_rows(eager, 12)
    mistral = tiny_model(copy.deepcopy(base_tokenizer), "mistral")  # a window of 8 tokens
    assert packs_rows(mistral, 8) and not packs_rows(mistral, 9)


def test_threads_do_not_disturb_each_other(made: SimpleNamespace) -> None:
    model = made.model
    batches = [rows_of(LENGTHS), rows_of([3, 3, 11])]
    positions = [mask.sum(dim=1, keepdim=True) - 1 for _, mask in batches]
    with torch.no_grad():
        expected = [model.embed(*batch, where) for batch, where in zip(batches, positions, strict=True)]

    def run(number: int) -> list[torch.Tensor]:
        with torch.no_grad():
            return [model.embed(*batches[number], positions[number]) for _ in range(20)]

    with ThreadPoolExecutor(2) as threads:
        found = list(threads.map(run, range(2), timeout=60))
    for number in range(2):
        assert all(torch.equal(embedding, expected[number]) for embedding in found[number])


def test_rows_that_a_decoder_does_not_keep_apart_are_padded(base_tokenizer: Any) -> None:
    """Doge makes a mask of its own out of the one that it is given."""
    torch.manual_seed(0)
    config = DogeConfig(vocab_size=404, keep_window_size=4, num_experts=4, **SIZES)
    tokenizer = copy.deepcopy(base_tokenizer)
    model = OneGenForCausalLM.from_backbone(AutoModelForCausalLM.from_config(config), tokenizer).eval()
    assert not packs_rows(model, 8) and packs_rows(tiny_model(tokenizer, "qwen3"), 8)


@pytest.mark.parametrize("sizes", [[4, 4, 4], [1, 5, 3], [2, 1, 1]], ids=str)
@torch.no_grad()
def test_shared_keys_are_not_copied(sizes: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Heads of queries that share keys attend as with copies of these, to the bit."""
    layer, generator = attention_layer(), torch.Generator().manual_seed(0)
    tokens, starts = sum(sizes), [9, 6, 11]
    query = torch.randn(1, tokens, 4, 8, generator=generator).transpose(1, 2)
    key, value = torch.randn(2, 3, 2, 32, 8, generator=generator)
    attended = []
    for shares in (lambda *_: False, lambda *_: True):
        monkeypatch.setattr("onegen_hf.modeling.row_attention.shares_keys", shares)
        mask = RowsMask.of(groups_of([0, 1, 2], starts, sizes), cached=True, device=query.device)
        attended.append(row_attention(layer, query, key, value, mask, scaling=0.3)[0])
    torch.testing.assert_close(attended[1], attended[0], rtol=1e-6, atol=1e-6)
    monkeypatch.undo()
    monkeypatch.setattr(
        "transformers.integrations.sdpa_attention.repeat_kv", lambda *_: pytest.fail("keys were copied")
    )
    mask = RowsMask.of(groups_of([0, 1, 2], [9, 6, 11], [4, 4, 4]), cached=True, device=query.device)
    query = torch.randn(1, 12, 4, 8, generator=generator).transpose(1, 2)
    assert row_attention(layer, query, key, value, mask, scaling=0.3)[0].shape == (1, 12, 4, 8)
