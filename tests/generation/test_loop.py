"""Rows of different calls join and leave a running loop at any step, and each gets what it gets alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.decoding_setup import PROMPTS, Setup, assert_same_row, tokens_fed
from transformers import LogitsProcessorList

from onegen_hf.generation import OnePassDecoder, RowState, TransformersEngine
from onegen_hf.generation.loop import DecodingLoop
from onegen_hf.generation.memory import PackedMemory, SequentialMemory, StepOutput
from onegen_hf.generation.memory.cache import RaggedCache


@dataclass
class Call:
    """What one caller asks for, and the steps at which the row joins and is taken out."""

    prompt: str
    joins: int = 0
    leaves: int | None = None
    hops: int = 2
    k: int = 1
    tokens: int = 10
    seed: int | None = None


def prepared(setup: Setup, call: Call, decoder: OnePassDecoder | None = None) -> tuple[Any, RowState]:
    decoder = decoder or OnePassDecoder(setup.index, setup.tokenizer, setup.model.onegen_config, call.k)
    sampled = {} if call.seed is None else {"do_sample": True, "temperature": 0.8, "top_p": 0.9}
    decoding, (row,) = TransformersEngine(setup.model, setup.tokenizer).prepare(
        [setup.ids(call.prompt)],
        decoder,
        max_new_tokens=call.tokens,
        logits_processor=LogitsProcessorList([setup.script(call.hops)]),
        **sampled,
    )
    if call.seed is not None:
        row.generator = torch.Generator().manual_seed(call.seed)
    return decoding, row


@torch.no_grad()
def run(setup: Setup, calls: Sequence[Call], memory: Any = None) -> list[RowState]:
    """The rows of all calls, in order."""
    loop = DecodingLoop(setup.model)
    members = [prepared(setup, call) for call in calls]
    for step in range(1000):
        for call, (decoding, row) in zip(calls, members, strict=True):
            if call.joins == step:
                loop.join(decoding, row)
            if call.leaves == step and row.stop_reason is None:
                row.stop_reason = "left"
        if step > max(call.joins for call in calls) and not loop.size:
            return [row for _, row in members]
        loop.step()
    raise AssertionError("the loop does not end")


CALLS = st.builds(
    Call,
    prompt=st.text(min_size=1, max_size=12),
    joins=st.integers(0, 12),
    leaves=st.none() | st.integers(0, 20),
    hops=st.integers(0, 3),
    k=st.integers(1, 2),
    tokens=st.integers(1, 14),
    seed=st.none() | st.integers(0, 3),
)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(calls=st.lists(CALLS, min_size=1, max_size=7))
def test_every_row_gets_what_it_gets_alone(llama: Setup, calls: list[Call]) -> None:
    with tokens_fed(llama.model) as fed:
        rows = run(llama, calls)
    assert sum(map(len, fed)) == sum(row.usage.forwarded_tokens for row in rows)
    for call, row in zip(calls, rows, strict=True):
        (alone,) = run(llama, [Call(call.prompt, 0, None, call.hops, call.k, call.tokens, call.seed)])
        if row.stop_reason == "left":
            assert row.ids == alone.ids[: len(row.ids)]
        else:
            assert_same_row(row, alone)
            assert row.usage == alone.usage


def test_row_by_row_too(llama: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = [Call(prompt, joins=3 * place) for place, prompt in enumerate(PROMPTS)]
    together = run(llama, calls)
    monkeypatch.setattr("onegen_hf.generation.loop.memory_for", SequentialMemory)
    for one, other in zip(together, run(llama, calls), strict=True):
        assert_same_row(one, other)


def test_a_seed_gives_what_the_same_seed_gives_globally(llama: Setup) -> None:
    others = [Call(prompt, joins=place, seed=place) for place, prompt in enumerate(PROMPTS)]
    row = run(llama, [*others, Call(PROMPTS[1], joins=2, seed=7)])[-1]
    torch.manual_seed(7)
    (alone,) = llama.run(PROMPTS[1:2], max_new_tokens=10, do_sample=True, temperature=0.8, top_p=0.9).rows
    assert row.ids == alone.ids


def test_calls_with_one_decoder_search_together(llama: Setup) -> None:
    searches = []

    class Counting(OnePassDecoder):
        def retrieve(self, rows: Any, embeddings: Any) -> Any:
            searches.append(len(rows))
            return super().retrieve(rows, embeddings)

    decoder = Counting(llama.index, llama.tokenizer, llama.model.onegen_config)
    loop = DecodingLoop(llama.model)
    for _ in range(3):
        loop.join(*prepared(llama, Call("Where is it?"), decoder))
    with torch.no_grad():
        while loop.size:
            loop.step()
    assert searches == [3, 3]


def test_storage_follows_what_it_holds(llama: Setup) -> None:
    memory = PackedMemory(llama.model, [0])
    sizes = []
    with torch.no_grad():
        memory.append([0], [[5] * 300])
        for rows in ([0, 1], [0, 1, 2, 3], [*range(1, 9)], [8, 1], [1]):
            memory.retain(rows)
            memory.append(rows, [[6]] * len(rows))
            sizes.append((memory.cache.slots, memory.cache.capacity))
            assert memory.cache.layers[0].keys.shape[0::2] == sizes[-1]
    assert sizes == [(2, 512), (4, 512), (8, 256), (4, 256), (2, 256)]


def test_rows_that_trade_places_keep_their_tokens(llama: Setup) -> None:
    kept, traded = (PackedMemory(llama.model, [0, 1, 2]) for _ in range(2))
    chunks = {0: [5, 6, 7], 1: [8], 2: [9, 10]}
    with torch.no_grad():
        for memory in (kept, traded):
            memory.append([0, 1, 2], list(chunks.values()))
        traded.retain([2, 0, 1])
        expected, actual = (memory.append([0, 1, 2], [[11], [12], [13]]).logits for memory in (kept, traded))
    torch.testing.assert_close(actual, expected)


def test_an_empty_cache_is_arranged_without_storage() -> None:
    cache = RaggedCache(1, torch.device("cpu"), 2)
    cache.arrange([None, 0, None])
    assert (cache.lengths, cache.slots) == ([0, 0, 0], 3)


def test_a_steps_output_follows_the_places_that_are_asked_for() -> None:
    rows = torch.arange(3.0)
    output = StepOutput(rows.view(3, 1), rows.view(3, 1), list(rows), list(rows))
    for places in ([0, 1, 2], [2, 0, 1], [1], [2, 0]):
        part = output.of(places)
        for values in (part.logits[:, 0], part.hidden[:, 0], torch.stack(part.states), torch.stack(part.drafted)):
            assert values.tolist() == places
