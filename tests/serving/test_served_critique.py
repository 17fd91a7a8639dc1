"""Critique on a server: the pipeline's candidates and answer, whatever runs beside them, or a refusal by name."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from support.http_server import Running, running_server
from support.reflection_setup import reflection_setup
from support.serving_setup import QUESTIONS, alone, assert_same_result, scheduler_for, submit

from onegen_hf import OneGenRagPipeline
from onegen_hf.generation import CritiqueSettings
from onegen_hf.serving import GenerationRequest, Refusal, ServingLimits
from onegen_hf.serving.engines import TransformersServingEngine, VllmServingEngine

PATHS = ["/v1/chat/completions", "/v1/completions"]
KINDS: list[dict[str, Any]] = [
    {"critique": True},
    {"critique": True, "k": 4, "retrieval": "always"},
    {"critique": {"w_rel": 0.2, "w_sup": 3.0, "closed_set": True}, "k": 3, "retrieval": "always"},
    {"critique": {"depth": 3, "ignore_continue": True}, "k": 2, "retrieval": "always", "max_new_tokens": 30},
    {"critique": {"depth": 2, "width": 1}, "k": 3, "threshold": 0.5},
    {"critique": True, "k": 3, "retrieval": "never"},
    {"critique": True, "k": 3, "retrieval": "always", "temperature": 1.0, "seed": 7},
    {"critique": {"depth": 3}, "k": 2, "retrieval": "always", "temperature": 0.8, "seed": 1, "max_new_tokens": 30},
    {"critique": True, "k": 3, "retrieval": "always", "filter": {"none": 1}},
    {"critique": True, "k": 2, "retrieval": "always", "stop": ["e", "an"]},
    {"retrieval": "always"},
]
ALWAYS: dict[str, Any] = {"k": 4, "retrieval": "always", "max_tokens": 14, "critique": True}


@pytest.fixture(scope="module")
def rag(base_tokenizer: Any) -> OneGenRagPipeline:
    setup, _ = reflection_setup(base_tokenizer)
    return OneGenRagPipeline(model=setup.model, tokenizer=setup.tokenizer, index=setup.index, device="cpu")


@pytest.fixture(scope="module")
def server(rag: OneGenRagPipeline) -> Iterator[Running]:
    with running_server(rag, batch_size=8) as running:
        yield running


def split(result: dict[str, Any]) -> tuple[dict[str, Any], list[float]]:
    """What critique added: the rest of it, and its numbers."""
    added = json.loads(json.dumps({name: result.get(name) for name in ("score", "segments", "candidates")}))
    numbers = [added.pop("score") or 0.0]
    for part in [*(added["segments"] or []), *(added["candidates"] or [])]:
        for name in ("score", "probability", "relevance", "support", "utility"):
            numbers.append(part.pop(name, None) or 0.0)
        numbers.append((part.get("passage") or {}).pop("score", 0.0))
    return added, numbers


def test_answers_are_those_of_the_pipeline_whatever_runs_beside_them(rag: OneGenRagPipeline) -> None:
    requests = [
        GenerationRequest(question, **{"max_new_tokens": 14, **kind}) for question in QUESTIONS[:3] for kind in KINDS
    ]
    engine = TransformersServingEngine(rag, ServingLimits(batch_size=256, max_batch_tokens=1_000_000), "tiny")
    jobs = [engine.prepare(request) for request in requests]
    waiting = list(reversed(jobs))
    while waiting or not all(job.ended for job in jobs):
        if waiting:  # they join one by one, so that rows of each stand between those of others
            engine.join(waiting.pop())
        engine.step()
        for job in [job for job in engine._jobs if job.ended]:
            engine.leave(job)
    weighed = 0
    for request, job in zip(requests, jobs, strict=True):
        assert job.error is None
        expected = alone(rag, request)
        result = engine.describer.describe(job.row, request.question)
        (added, numbers), (expected_added, expected_numbers) = split(result), split(expected)
        assert added == expected_added and numbers == pytest.approx(expected_numbers, abs=1e-4)
        plain = [
            {name: item for name, item in each.items() if name not in ("score", "segments", "candidates")}
            for each in (result, expected)
        ]
        sums = [each.pop("answer_scores", {}) for each in plain]
        assert sums[0] == pytest.approx(sums[1], abs=1e-4) and list(sums[0]) == list(sums[1])
        assert_same_result(*plain)
        weighed += len(result.get("candidates", ()))
    assert weighed > 60


@pytest.mark.parametrize("path", PATHS)
def test_a_response_holds_the_candidates_with_the_parts_of_their_scores(
    rag: OneGenRagPipeline, server: Running, path: str
) -> None:
    question = QUESTIONS[1]
    asked = {"messages": [{"role": "user", "content": question}]} if "chat" in path else {"prompt": question}
    answer = server.ask(path, {**asked, **ALWAYS}).json()
    expected = rag(question, k=4, retrieval="always", max_new_tokens=14, critique=True)
    assert answer["candidates"] == json.loads(json.dumps(expected.candidates)) and len(answer["candidates"]) == 4
    assert [candidate["chosen"] for candidate in answer["candidates"]].count(True) == 1
    assert (answer["answer"], answer["score"]) == (expected.answer, expected.score)
    assert answer["segments"] == json.loads(json.dumps(expected.segments))
    assert answer["usage"]["forwarded_tokens"] == expected.usage.forwarded_tokens
    choice = answer["choices"][0]
    assert (choice["message"]["content"] if "chat" in path else choice["text"]) == expected.content
    assert choice["finish_reason"] == {"eos": "stop"}.get(expected.stop_reason, "length")
    if "chat" in path:
        # What the answer was written after stays in the chat, and nothing else.
        (chosen,) = (candidate for candidate in answer["candidates"] if candidate["chosen"])
        (hop,) = choice["message"]["retrievals"]
        assert [passage["id"] for passage in hop["passages"]] == [chosen["passage"]["id"]]
        assert len(answer["retrievals"][0]["passages"]) == 4


@pytest.mark.parametrize("path", PATHS)
def test_a_stream_has_its_text_at_the_end_in_one_piece(rag: OneGenRagPipeline, server: Running, path: str) -> None:
    question = QUESTIONS[1]
    asked = {"messages": [{"role": "user", "content": question}]} if "chat" in path else {"prompt": question}
    text = server.ask(path, {**asked, **ALWAYS, "stream": True}).text
    chunks = [json.loads(line.removeprefix("data: ")) for line in text.split("\n\n")[:-2]]
    expected = rag(question, k=4, retrieval="always", max_new_tokens=14, critique=True)
    choices = [chunk["choices"][0] for chunk in chunks]
    pieces = [(choice["delta"].get("content") if "chat" in path else choice["text"]) for choice in choices]
    assert [piece for piece in pieces if piece] == [expected.content]
    assert [chunk["event"]["type"] for chunk in chunks if "event" in chunk] == ["query", "passages"]
    assert chunks[-1]["candidates"] == json.loads(json.dumps(expected.candidates))


@pytest.mark.parametrize(
    ("critique", "message"),
    [
        ("yes", "critique"),
        ({"w_rel": "much"}, "w_rel='much'"),
        ({"weight": 1}, "critique: 'weight' is unknown: it takes w_rel, w_sup, w_use, closed_set, depth"),
        ({"depth": 0}, "depth=0"),
        ({"closed_set": True, "depth": 2}, "closed_set=True"),
        ({"depth": 2, "width": 3}, "critique may decode 12 candidates at a time, but the server decodes 8 rows"),
    ],
)
def test_values_that_are_refused(server: Running, critique: Any, message: str) -> None:
    refused = server.ask("/v1/completions", {**ALWAYS, "prompt": "Who?", "critique": critique})
    assert refused.status_code == 400 and message in refused.json()["error"]["message"]


def test_a_checkpoint_without_reflection_tokens_refuses_it(plain_rag: OneGenRagPipeline) -> None:
    plain = TransformersServingEngine(plain_rag, ServingLimits(), "tiny")
    with pytest.raises(ValueError, match="critique=.* needs Self-RAG's reflection tokens"):
        plain.prepare(GenerationRequest("Who?", critique=True))
    assert plain.prepare(GenerationRequest("Who?", critique=False))


def test_vllm_refuses_it() -> None:
    with pytest.raises(ValueError, match="critique forks an answer into candidates"):
        VllmServingEngine.prepare(None, GenerationRequest("Who?", critique=True))  # type: ignore[arg-type]


def test_candidates_count_as_rows_of_the_batch(rag: OneGenRagPipeline) -> None:
    engine = TransformersServingEngine(rag, ServingLimits(batch_size=6), "tiny")
    asked = {"k": 4, "retrieval": "always", "max_new_tokens": 8}
    first, second, plain = (
        engine.prepare(GenerationRequest("Who?", critique=critique, **asked)) for critique in (True, True, False)
    )
    assert (first.rows, plain.rows) == (4, 1)
    assert first.positions < plain.positions  # each candidate reads one passage
    engine.join(first)
    assert not engine.has_room(second) and engine.has_room(plain)
    engine.leave(first)
    assert engine.has_room(second)


@pytest.mark.parametrize("way", ["cancelled", "deadline_exceeded"])
def test_all_candidates_of_a_request_that_ends_early_leave(
    rag: OneGenRagPipeline, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[Any] = []

    class Observer:
        def ended(self, ticket: Any, outcome: str) -> None:
            counted.append((outcome, ticket.job.row.usage))

    scheduler = scheduler_for(rag, Observer(), batch_size=8)
    loop = scheduler.engine._loop  # type: ignore[attr-defined]
    forked, step = threading.Event(), loop.step

    def slow_step() -> None:
        step()
        if loop.size > 2:
            forked.set()
        time.sleep(0.01)

    monkeypatch.setattr(loop, "step", slow_step)
    # No token ends the text, so that it would go on for long.
    monkeypatch.setattr(rag.model.generation_config, "eos_token_id", None)
    scheduler.start()
    seconds = {"timeout": 1.0} if way == "deadline_exceeded" else {}
    deliveries = submit(
        scheduler, "Who?", k=4, retrieval="always", critique={"depth": 20, "width": 2}, max_new_tokens=400, **seconds
    )
    assert forked.wait(20)
    if way == "cancelled":
        scheduler.cancel(deliveries.ticket)  # type: ignore[attr-defined]
    last = deliveries.wait()
    assert isinstance(last, Refusal) and last.code == way
    scheduler.close()
    assert loop.size == 0
    ((outcome, usage),) = counted
    assert outcome == way and usage.forwarded_tokens > usage.prompt_tokens and usage.generated_tokens > 0


def test_a_failing_search_takes_no_other_request_with_it(
    rag: OneGenRagPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = TransformersServingEngine(rag, ServingLimits(), "tiny")
    asked: dict[str, Any] = {"retrieval": "always", "max_new_tokens": 12}
    failing = engine.prepare(GenerationRequest("Who?", k=3, critique={"depth": 3}, **asked))
    other = engine.prepare(GenerationRequest("Who?", k=2, critique=True, **asked))
    retrieve, calls = failing.state.decoder.retrieve, []

    def fails_at_the_second(rows: Any, embeddings: Any) -> Any:
        calls.append(len(rows))
        if len(calls) > 1:
            raise ConnectionError("the database does not answer")
        return retrieve(rows, embeddings)

    monkeypatch.setattr(failing.state.decoder, "retrieve", fails_at_the_second)
    engine.join(failing)
    engine.join(other)
    while not (failing.ended and other.ended):
        engine.step()
    assert isinstance(failing.error, ConnectionError)
    engine.leave(failing)
    assert engine._loop.size == 0 and other.error is None
    expected = rag("Who?", k=2, critique=CritiqueSettings(), **asked)
    assert engine.describer.describe(other.row, "Who?").text == expected.text


def test_metrics_count_candidates(server: Running) -> None:
    def counted() -> float:
        with server.client() as client:
            lines = client.get("/metrics").text.splitlines()
        return float(next(line for line in lines if line.startswith("onegen_candidates_total")).rsplit(" ", 1)[1])

    before = counted()
    server.ask("/v1/completions", {**ALWAYS, "prompt": "Who?"})
    assert counted() == before + 4


@pytest.fixture
def plain_rag(llama: Any) -> OneGenRagPipeline:
    return OneGenRagPipeline(model=llama.model, tokenizer=llama.tokenizer, index=llama.index, device="cpu")
