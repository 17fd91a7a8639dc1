"""One pass gives what re-reading everything at every step gives, and reads every position once."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.decoding_setup import PROMPTS, Setup, assert_same_row, recompute, tokens_fed
from support.tiny_models import ARCHITECTURES

from onegen_hf.generation.memory import PackedMemory, SequentialMemory, memory_for

TOLERANCE = dict(rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("hops", [0, 1, 3])
def test_equals_decoding_without_a_cache(setup_for: Any, architecture: str, hops: int) -> None:
    setup = setup_for(architecture)
    script = setup.script(hops)
    rows = setup.run(PROMPTS, hops=hops, script=script).rows
    seen = {tuple(ids): scores for ids, scores in script.seen}
    for prompt, row in zip(PROMPTS, rows, strict=True):
        slow = recompute(setup, setup.ids(prompt), hops)
        assert row.ids == slow.ids
        assert len(row.retrievals) == hops
        assert [[hit.passage.id for hit in retrieval.hits] for retrieval in row.retrievals] == slow.retrieved
        for retrieval, embedding in zip(row.retrievals, slow.embeddings, strict=True):
            torch.testing.assert_close(retrieval.embedding, embedding, **TOLERANCE)
        for length, scores in slow.scores.items():
            torch.testing.assert_close(seen[tuple(slow.ids[:length])], scores, **TOLERANCE)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_states_and_logits_equal_one_forward_over_the_final_ids(setup_for: Any, architecture: str) -> None:
    setup = setup_for(architecture)
    script = setup.script(hops=2)
    (row,) = setup.run(PROMPTS[1:2], script=script).rows
    with torch.no_grad():
        positions = [[retrieval.position for retrieval in row.retrievals]]
        whole = setup.model(input_ids=torch.tensor([row.ids]), retrieval_positions=positions)
    embeddings = torch.stack([retrieval.embedding for retrieval in row.retrievals])
    torch.testing.assert_close(whole.retrieval_embeddings[0], embeddings, **TOLERANCE)
    for ids, scores in script.seen:
        torch.testing.assert_close(whole.logits[0, len(ids) - 1], scores, **TOLERANCE)


@pytest.mark.parametrize("hops", range(6))
def test_forwarded_tokens_are_counted_by_the_embedding_layer(llama: Setup, hops: int) -> None:
    with tokens_fed(llama.model) as fed:
        (row,) = llama.run(PROMPTS[2:3], hops=hops, max_new_tokens=30).rows
    usage = row.usage
    assert len(row.retrievals) == hops
    assert usage.forwarded_tokens == sum(map(len, fed))
    assert usage.forward_calls == len(fed)
    # The last token is chosen and never fed.
    assert usage.forwarded_tokens == usage.prompt_tokens + usage.generated_tokens + usage.retrieved_tokens - 1
    assert len(row.ids) == usage.prompt_tokens + usage.generated_tokens + usage.retrieved_tokens


def test_in_a_batch_only_padding_is_fed_besides(llama: Setup) -> None:
    with tokens_fed(llama.model) as fed:
        rows = llama.run(PROMPTS, hops=2).rows
    padding = llama.tokenizer.pad_token_id
    assert all(padding not in row.ids for row in rows)
    assert sum(row.usage.forwarded_tokens for row in rows) == int((torch.cat(fed) != padding).sum())


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    prompts=st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=5),
    hops=st.integers(0, 4),
    k=st.integers(1, 3),
    max_hops=st.integers(0, 4),
    max_new_tokens=st.integers(1, 16),
    max_rows=st.none() | st.integers(1, 3),
)
def test_a_batch_equals_its_rows(
    llama: Setup, prompts: list[str], hops: int, k: int, max_hops: int, max_new_tokens: int, max_rows: int | None
) -> None:
    options: dict[str, Any] = dict(hops=hops, k=k, max_hops=max_hops, max_new_tokens=max_new_tokens)
    together = llama.run(prompts, max_rows=max_rows, **options).rows
    for prompt, row in zip(prompts, together, strict=True):
        (alone,) = llama.run([prompt], **options).rows
        assert_same_row(row, alone)
        assert row.usage == alone.usage
        usage = row.usage
        assert usage.forwarded_tokens == usage.prompt_tokens + usage.generated_tokens + usage.retrieved_tokens - 1
        assert len(row.retrievals) <= min(hops, max_hops)


@pytest.mark.parametrize("memory", [PackedMemory, SequentialMemory])
def test_a_waiting_row_takes_the_place_of_one_that_ended(
    llama: Setup, memory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[list[int]] = []

    class Recorded(memory):
        def retain(self, rows: list[int]) -> None:
            held.append(rows)
            super().retain(rows)

    monkeypatch.setattr("onegen_hf.generation.loop.memory_for", Recorded)
    prompts = [*PROMPTS, *PROMPTS[::-1]]
    for prompt, row in zip(prompts, llama.run(prompts, max_rows=2).rows, strict=True):
        assert row.ids == llama.run([prompt]).rows[0].ids
    assert max(map(len, held)) == 2
    assert len({row for rows in held for row in rows}) > 2


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("architecture", ["llama_tied", "qwen3_moe", "mistral"])
def test_attention_implementations(setup_for: Any, architecture: str, attention: str) -> None:
    setup = copy.copy(setup_for(architecture))
    setup.model = copy.deepcopy(setup.model)
    setup.model.set_attn_implementation(attention)
    assert isinstance(memory_for(setup.model, [0]), PackedMemory)
    for prompt, row in zip(PROMPTS, setup.run(PROMPTS).rows, strict=True):
        assert row.ids == recompute(setup, setup.ids(prompt), hops=2).ids


@pytest.mark.parametrize("architecture", ["llama_tied", "gemma2", "qwen3_moe"])
def test_row_by_row_for_models_that_cannot_mix_lengths(
    setup_for: Any, architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = setup_for(architecture)
    together = setup.run(PROMPTS).rows
    monkeypatch.setattr("onegen_hf.generation.loop.memory_for", SequentialMemory)
    for one, other in zip(together, setup.run(PROMPTS).rows, strict=True):
        assert one.ids == other.ids
        assert one.usage.forwarded_tokens == other.usage.forwarded_tokens


def test_recurrent_layers_go_row_by_row(base_tokenizer: Any) -> None:
    from support.sample_corpus import DOCUMENTS
    from support.tiny_models import VOCAB_SIZE
    from transformers import AutoModelForCausalLM, Lfm2Config

    from onegen_hf import OneGenForCausalLM, PassageIndex

    config = Lfm2Config(
        vocab_size=VOCAB_SIZE, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, layer_types=["conv", "full_attention"], max_position_embeddings=512, pad_token_id=0,
        bos_token_id=1, eos_token_id=3, initializer_range=0.2, block_multiple_of=16,
    )  # fmt: skip
    torch.manual_seed(0)
    tokenizer = copy.deepcopy(base_tokenizer)
    backbone = AutoModelForCausalLM.from_config(config).float().eval()
    model = OneGenForCausalLM.from_backbone(backbone, tokenizer)
    setup = Setup(model, tokenizer, PassageIndex.build(model, tokenizer, DOCUMENTS, show_progress=False))
    assert isinstance(memory_for(model, [0, 1]), SequentialMemory)
    for prompt, row in zip(PROMPTS, setup.run(PROMPTS).rows, strict=True):
        assert row.ids == recompute(setup, setup.ids(prompt), hops=2).ids


def test_half_precision(setup_for: Any) -> None:
    setup = copy.copy(setup_for("llama_tied"))
    setup.model = copy.deepcopy(setup.model).bfloat16()
    (row,) = setup.run(PROMPTS[1:2]).rows
    with torch.no_grad():
        positions = [[retrieval.position for retrieval in row.retrievals]]
        whole = setup.model(input_ids=torch.tensor([row.ids]), retrieval_positions=positions).retrieval_embeddings[0]
    found = torch.stack([retrieval.embedding for retrieval in row.retrievals])
    assert found.dtype == torch.bfloat16
    assert torch.cosine_similarity(found.float(), whole.float()).min() > 0.999


def test_passages_may_be_embedded_while_another_thread_decodes(setup_for: Any) -> None:
    setup: Setup = setup_for("llama_tied")
    ids = torch.tensor([setup.ids("Fern Bay lies by the sea.")])
    positions = torch.tensor([[ids.shape[1] - 1]])
    expected = setup.run(PROMPTS[1:2]).rows[0].ids
    with torch.no_grad():
        embedding, logits = setup.model.embed(ids, None, positions), setup.model(input_ids=ids).logits
    with ThreadPoolExecutor(1) as thread:
        for _ in range(3):
            decoding = thread.submit(lambda: setup.run(PROMPTS[1:2], max_new_tokens=40).rows[0].ids)
            with torch.no_grad():
                while not decoding.done():
                    torch.testing.assert_close(setup.model.embed(ids, None, positions), embedding)
                    torch.testing.assert_close(setup.model(input_ids=ids).logits, logits)
            assert decoding.result()[: len(expected)] == expected


def test_threads_may_share_a_model(setup_for: Any) -> None:
    setup: Setup = setup_for("llama_tied")
    expected = {prompt: setup.run([prompt]).rows[0].ids for prompt in PROMPTS}
    # Each with a tokenizer of its own: a call that splits special tokens switches the tokenizer that it is made on.
    setups = [Setup(setup.model, copy.deepcopy(setup.tokenizer), setup.index) for _ in PROMPTS * 3]
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda own, prompt: (prompt, own.run([prompt]).rows[0].ids), setups, PROMPTS * 3))
    assert len(found) == 3 * len(PROMPTS)
    assert all(ids == expected[prompt] for prompt, ids in found)
    assert setup.model.config._attn_implementation == "sdpa"
