"""Passages that are read more than once on a server: the pipeline's answer, whatever runs beside it."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import pytest
from support.decoding_setup import tokens_fed
from support.index_fixtures import make_corpus
from support.serving_setup import alone, assert_same_result, scheduler_for, submit

from onegen_hf import OneGenRagPipeline, PassageIndex
from onegen_hf.generation.events import PassagesEvent, TokenEvent
from onegen_hf.serving import GenerationRequest, Scheduler

QUESTIONS = ["Which kite is red, Item 8 or Item 22?", "What is item 15?", "Is a very red kite Item 24?"]
KINDS: list[dict[str, Any]] = [
    {"retrieval": "always"},
    {"retrieval": "always", "max_hops": 2, "max_new_tokens": 20},
    {"retrieval": "always", "k": 2},
    {"retrieval": "never"},
    {"retrieval": "always", "stop": ["e", "an"]},
    {"threshold": 0.0, "max_hops": 1},
]


@pytest.fixture
def reading(rag: OneGenRagPipeline) -> OneGenRagPipeline:
    """A pipeline whose checkpoint reads three times, with passages of one to four sentences."""
    model: Any = copy.copy(rag.model)
    model.onegen_config = dataclasses.replace(model.onegen_config, inserted_sentences=3, readings=3, answer_prefix="")
    index = PassageIndex.build(model, rag.tokenizer, make_corpus(8), show_progress=False)
    return OneGenRagPipeline(model=model, tokenizer=rag.tokenizer, index=index)


def served(rag: Any, requests: list[dict[str, Any]], **limits: Any) -> tuple[list[Any], Scheduler]:
    """What a server delivers, and its scheduler."""
    scheduler = scheduler_for(rag, **limits)
    scheduler.start()
    answers = [submit(scheduler, **request) for request in requests]
    for answer in answers:
        answer.wait()
    scheduler.close()
    return answers, scheduler


def test_each_answer_is_that_of_the_pipeline(reading: Any) -> None:
    requests = [{"question": q, "max_new_tokens": 10, **kind} for kind in KINDS for q in QUESTIONS]
    with tokens_fed(reading.model) as fed:
        answers, _ = served(reading, requests, batch_size=9)
    results = [answer.wait().result for answer in answers]
    assert sum(map(len, fed)) == sum(result["usage"]["forwarded_tokens"] for result in results)
    several = 0
    for request, answer, result in zip(requests, answers, results, strict=True):
        assert_same_result(result, alone(reading, GenerationRequest(**request)))
        text = "".join(event.text for event in answer.all if isinstance(event, TokenEvent))
        assert text == result["content"]
        inserted = sum(event.inserted_tokens for event in answer.all if isinstance(event, PassagesEvent))
        several += result["usage"]["retrieved_tokens"] > inserted
    assert several >= 3  # or little was read twice


@pytest.mark.parametrize(
    ("settings", "changes", "rows"),
    [
        ({}, {}, 4),
        ({"readings": 2}, {}, 3),
        ({"readings": 1}, {}, 1),
        ({"retrieval": "never"}, {}, 1),  # nothing is read
        ({"max_hops": 0}, {}, 1),
        ({}, {"inserted_sentences": 1}, 1),  # one sentence can be read in one way
        ({}, {"inserted_sentences": None}, 1),
    ],
)
def test_rows_that_a_request_may_take(
    reading: Any, settings: dict[str, Any], changes: dict[str, Any], rows: int
) -> None:
    reading.model.onegen_config = dataclasses.replace(reading.model.onegen_config, **changes)
    engine = scheduler_for(reading, batch_size=8).engine
    assert engine.prepare(GenerationRequest(QUESTIONS[0], max_new_tokens=10, **settings)).rows == rows


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_a_server_of_few_rows_reads_less_often(reading: Any, rows: int) -> None:
    requests = [{"question": q, "max_new_tokens": 10, "retrieval": "always"} for q in QUESTIONS]
    answers, scheduler = served(reading, requests, batch_size=rows)
    settings = reading.model.onegen_config
    reading.model.onegen_config = dataclasses.replace(settings, readings=max(rows - 1, 1))
    for request, answer in zip(requests, answers, strict=True):
        assert_same_result(answer.wait().result, alone(reading, GenerationRequest(**request)))
        assert scheduler.engine.prepare(GenerationRequest(**request)).rows <= rows
