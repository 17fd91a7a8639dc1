"""The course of an answer on vLLM's sessions, with a stand-in for vLLM itself (see test_vllm.py for the real one)."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from support import stand_in_vllm
from support.forked_python import ForkedPython
from support.serving_setup import (
    QUESTIONS,
    alone,
    assert_same_result,
    pipeline_that_searches_by_words,
    projected_pipeline,
)
from support.stand_in_vllm import StandIn
from transformers import StopStringCriteria

from onegen_hf.data.prompts import prompt_ids
from onegen_hf.generation import OnePassDecoder, RowState
from onegen_hf.serving import GenerationRequest
from onegen_hf.serving.engines.vllm.answer import Surroundings, VllmAnswer
from onegen_hf.serving.engines.vllm.batched_search import BatchedSearch
from onegen_hf.serving.engines.vllm.state_files import StateFiles

KINDS: list[dict[str, Any]] = [
    {},
    {"k": 2, "max_hops": 1},
    {"max_hops": 0},
    {"retrieval": "never"},
    {"retrieval": "always", "max_hops": 2},
    {"threshold": 0.02, "max_hops": 2},
    {"stop": ["e", "an"]},
    {"max_new_tokens": 3},
    {"max_new_tokens": 100, "k": 2, "max_hops": 20},
]


def around(rag: Any, engine: StandIn, directory: Path, **settings: Any) -> Surroundings:
    tokenizer = rag.tokenizer
    ends = frozenset([tokenizer.eos_token_id])
    lines = ends | {token for token in range(len(tokenizer)) if "\n" in tokenizer.decode([token])}
    document = rag.model.onegen_config.tokens.ids(tokenizer).document
    shared: dict[str, Any] = {"context": 512, "stall_seconds": 10.0, **settings}
    return Surroundings(engine, StateFiles(directory), BatchedSearch(), ends, frozenset(lines), document, **shared)


def answer(rag: Any, place: Surroundings, request: GenerationRequest, number: int = 0) -> tuple[VllmAnswer, RowState]:
    """An answer, and the row that follows what it publishes."""
    ids = prompt_ids(rag.tokenizer, rag.model.onegen_config, request.question)
    row = RowState.start(0, ids)
    decoder = OnePassDecoder(
        rag.index,
        rag.tokenizer,
        rag.model.onegen_config,
        request.k,
        request.max_hops,
        retrieval=request.retrieval,
        threshold=request.threshold,
    )
    criterion = StopStringCriteria(tokenizer=rag.tokenizer, stop_strings=list(request.stop)) if request.stop else None

    def stops(own: RowState) -> bool:
        return criterion is not None and bool(criterion(torch.tensor([own.ids]), None).all())

    return VllmAnswer(place, f"a{number}", request, decoder, ids, stops, lambda update: update(row)), row


async def together(answers: Sequence[VllmAnswer]) -> None:
    await asyncio.gather(*(each.run() for each in answers))


def test_words_of_the_question_are_searched_for(base_tokenizer: Any, tmp_path: Path, monkeypatch: Any) -> None:
    rag = pipeline_that_searches_by_words(copy.deepcopy(base_tokenizer))
    stand_in_vllm.install(monkeypatch)
    place = around(rag, StandIn(rag.model), tmp_path)
    requests = [GenerationRequest(question, max_new_tokens=8, max_hops=1, threshold=0.0) for question in QUESTIONS]
    pairs = [answer(rag, place, request, number) for number, request in enumerate(requests)]
    asyncio.run(together([pair[0] for pair in pairs]))
    searched = 0
    for request, (own, _) in zip(requests, pairs, strict=True):
        expected = alone(rag, request)
        searched += len(expected["retrievals"][0]["passages"])
        assert_same_result({**rag.describe(own.row, request.question), "usage": expected["usage"]}, expected)
    assert searched > 1  # of the words that a question shares with passages


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_an_answer_is_that_of_the_pipeline(rag: Any, tmp_path: Path, monkeypatch: Any, kind: dict[str, Any]) -> None:
    stand_in_vllm.install(monkeypatch)
    engine = StandIn(rag.model)
    place = around(rag, engine, tmp_path)
    requests = [GenerationRequest(question, **{"max_new_tokens": 24, **kind}) for question in QUESTIONS]
    pairs = [answer(rag, place, request, number) for number, request in enumerate(requests)]
    asyncio.run(together([pair[0] for pair in pairs]))
    for request, (own, row) in zip(requests, pairs, strict=True):
        expected = alone(rag, request)
        for result in (rag.describe(row, request.question), rag.describe(own.row, request.question)):
            assert_same_result({**result, "usage": expected["usage"]}, expected)
            assert result["usage"]["forwarded_tokens"] == expected["usage"]["forwarded_tokens"]
    assert engine.fed == sum(row.usage.forwarded_tokens for _, row in pairs)
    assert engine.open == 0 and not list(tmp_path.iterdir())


def test_vllm_gives_states_and_the_projection_is_applied_here(
    base_tokenizer: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    stand_in_vllm.install(monkeypatch)
    rag = projected_pipeline(copy.deepcopy(base_tokenizer))
    weight = rag.model.retrieval_projection.weight.detach()
    place = around(rag, StandIn(rag.model), tmp_path, projection=weight)
    requests = [GenerationRequest(question, max_new_tokens=24) for question in QUESTIONS]
    pairs = [answer(rag, place, request, number) for number, request in enumerate(requests)]
    asyncio.run(together([pair[0] for pair in pairs]))
    results = [rag.describe(row, request.question) for request, (_, row) in zip(requests, pairs, strict=True)]
    assert any(result["retrievals"] for result in results)
    for request, result in zip(requests, results, strict=True):
        assert_same_result({**result, "usage": None}, {**alone(rag, request), "usage": None})


@pytest.mark.parametrize("tokens", [1, 2, 5])
def test_a_session_that_stands_still_is_sent_anew(rag: Any, tmp_path: Path, monkeypatch: Any, tokens: int) -> None:
    stand_in_vllm.install(monkeypatch)
    engine = StandIn(rag.model, stalls=tokens)
    place = around(rag, engine, tmp_path, stall_seconds=0.2)
    requests = [GenerationRequest(question, max_new_tokens=24) for question in QUESTIONS]
    pairs = [answer(rag, place, request, number) for number, request in enumerate(requests)]
    asyncio.run(together([pair[0] for pair in pairs]))
    for request, (_, row) in zip(requests, pairs, strict=True):
        expected = alone(rag, request)
        assert_same_result({**rag.describe(row, request.question), "usage": expected["usage"]}, expected)
    assert engine.fed == sum(row.usage.forwarded_tokens for _, row in pairs)
    assert engine.open == 0


def test_a_cancelled_answer_leaves_nothing(rag: Any, tmp_path: Path, monkeypatch: Any) -> None:
    stand_in_vllm.install(monkeypatch)
    engine = StandIn(rag.model, stalls=3)

    async def cancelled() -> None:
        own, _ = answer(rag, around(rag, engine, tmp_path), GenerationRequest(QUESTIONS[2], max_new_tokens=24))
        task = asyncio.create_task(own.run())
        while not own.row.usage.generated_tokens:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    assert engine.open == 0 and not list(tmp_path.iterdir())


def test_searches_of_one_decoder_are_made_together(rag: Any) -> None:
    sizes = []

    class Counting(OnePassDecoder):
        def retrieve(self, rows: Any, embeddings: Any) -> Any:
            sizes.append(len(rows))
            if self.k == 2:
                raise ConnectionError("the database does not answer")
            return super().retrieve(rows, embeddings)

    one, failing = (Counting(rag.index, rag.tokenizer, rag.model.onegen_config, k) for k in (1, 2))

    async def search() -> list[Any]:
        search, row = BatchedSearch(), RowState.start(0, [1])
        embedding = torch.ones(rag.index.dimension)
        decoders = [one, failing, one, one, failing]
        return await asyncio.gather(
            *(search.search(decoder, row, embedding) for decoder in decoders), return_exceptions=True
        )

    found = asyncio.run(search())
    assert sizes == [3, 2]
    assert [isinstance(hits, ConnectionError) for hits in found] == [False, True, False, False, True]


def test_the_engine_imports_nothing_beside_which_vllms_workers_do_not_start() -> None:
    # vLLM looks into every module that is loaded, and trips over those of numba, which bm25s imports.
    code = "import sys, onegen_hf.serving.engines.vllm.engine; sys.exit('bm25s' in sys.modules)"
    assert ForkedPython(code).wait() == 0
