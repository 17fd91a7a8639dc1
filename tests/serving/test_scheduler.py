"""Requests share a running batch, and each is answered as the pipeline answers it, or refused by name."""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.decoding_setup import tokens_fed
from support.serving_setup import (
    QUESTIONS,
    Deliveries,
    alone,
    assert_same_result,
    pipeline_that_searches_by_words,
    scheduler_for,
    submit,
)

from onegen_hf.generation.events import DoneEvent, PassagesEvent
from onegen_hf.serving import GenerationRequest, Refusal, Scheduler
from onegen_hf.serving.refusals import (
    Cancelled,
    DeadlineExceeded,
    EngineFailed,
    Overloaded,
    ShuttingDown,
    TooManyRequests,
)

CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Who made Tin Boat?"}]

REQUESTS = st.fixed_dictionaries(
    {
        "question": st.sampled_from([*QUESTIONS, CHAT]),
        "max_new_tokens": st.integers(1, 20),
        "k": st.integers(1, 2),
        "max_hops": st.integers(1, 3),
        "retrieval": st.sampled_from(["adaptive", "always", "never"]),
        "temperature": st.sampled_from([0.0, 0.7]),
        "seed": st.integers(0, 3),
        "stop": st.sampled_from([[], ["e"], ["an", "\n"]]),
    }
)


@pytest.fixture
def slow(rag: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scheduler]:
    """A scheduler of two rows whose steps wait for `slow.go`, a semaphore."""
    scheduler = scheduler_for(
        rag, batch_size=2, max_waiting=3, max_client_requests=3, max_new_tokens=300, max_waiting_tokens=100
    )
    scheduler.go = threading.Semaphore(0)  # type: ignore[attr-defined]
    step = scheduler.engine.step

    def waits() -> None:
        scheduler.go.acquire()  # type: ignore[attr-defined]
        step()

    monkeypatch.setattr(scheduler.engine, "step", waits)
    scheduler.start()
    yield scheduler
    scheduler.go.release(10_000)  # type: ignore[attr-defined]
    scheduler.close(0)


def step(scheduler: Any, steps: int = 1) -> None:
    scheduler.go.release(steps)


def until_running(scheduler: Any, requests: int) -> None:
    """Requests join between two steps."""
    while scheduler.running < requests:
        step(scheduler)
        time.sleep(0.01)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(requests=st.lists(REQUESTS, min_size=1, max_size=12))
def test_each_answer_is_that_of_the_pipeline(rag: Any, scheduler: Scheduler, requests: list[dict[str, Any]]) -> None:
    with tokens_fed(rag.model) as fed:
        answers = [submit(scheduler, **request) for request in requests]
        results = [answer.wait().result for answer in answers]
    assert sum(map(len, fed)) == sum(result["usage"]["forwarded_tokens"] for result in results)
    for request, result in zip(requests, results, strict=True):
        assert_same_result(result, alone(rag, GenerationRequest(**request)))


def test_words_of_the_question_are_searched_for(base_tokenizer: Any) -> None:
    """Where the model asks before it has written anything."""
    rag = pipeline_that_searches_by_words(copy.deepcopy(base_tokenizer))
    scheduler = scheduler_for(rag, batch_size=5)
    scheduler.start()
    requests = [
        dict(question=question, max_new_tokens=8, max_hops=1, threshold=0.0) for question in [*QUESTIONS, CHAT]
    ]
    answers = [submit(scheduler, **request) for request in requests]
    for request, answer in zip(requests, answers, strict=True):
        assert_same_result(answer.wait().result, alone(rag, GenerationRequest(**request)))
    scheduler.close()
    found = {
        passage["id"]
        for answer in answers
        for hop in answer.wait().result["retrievals"]
        for passage in hop["passages"]
    }
    assert len(found) > 1


def test_events_come_in_their_order(rag: Any, scheduler: Scheduler) -> None:
    answer = submit(scheduler, QUESTIONS[0], max_new_tokens=20)
    done = answer.wait()
    assert [event.to_dict() for event in answer.all] == [
        event.to_dict() for event in rag.stream(QUESTIONS[0], max_new_tokens=20)
    ]
    assert isinstance(done, DoneEvent) and any(isinstance(event, PassagesEvent) for event in answer.all)


def test_a_request_joins_while_another_one_runs(slow: Scheduler) -> None:
    first = submit(slow, QUESTIONS[3], max_new_tokens=12)
    step(slow, 3)
    first.first()
    second = submit(slow, QUESTIONS[1], max_new_tokens=3)
    step(slow, 100)
    assert second.wait().usage["generated_tokens"] == 3
    assert first.wait().usage["generated_tokens"] == 12


def test_a_cancelled_request_makes_room(slow: Scheduler) -> None:
    first, second, third = (submit(slow, QUESTIONS[3], max_new_tokens=100) for _ in range(3))
    until_running(slow, 2)
    for answer in (first, third):
        slow.cancel(answer.ticket)  # type: ignore[attr-defined]
    step(slow, 2)
    assert isinstance(first.wait(), Cancelled) and isinstance(third.wait(), Cancelled)
    assert slow.running == 1 and slow.waiting == 0
    step(slow, 200)
    assert second.wait().usage["generated_tokens"] == 100


def test_clients_take_turns(slow: Scheduler) -> None:
    order: list[str] = []

    class Noted(Deliveries):
        def __init__(self, client: str) -> None:
            super().__init__()
            self.client = client

        def __call__(self, what: Any) -> None:
            if isinstance(what, DoneEvent):
                order.append(self.client)
            super().__call__(what)

    answers = [Noted(client) for client in ("busy", "busy", "busy", "calm")]
    for answer in answers:
        slow.submit(GenerationRequest(QUESTIONS[3], max_new_tokens=2, client=answer.client), answer)
        while not slow.running:  # the first one begins, and the others wait for its step
            time.sleep(0.01)
    step(slow, 100)
    for answer in answers:
        answer.wait()
    assert order[1] == "calm"  # the first of the busy one had begun already


def test_a_full_queue_refuses(slow: Scheduler) -> None:
    for client in range(2):
        submit(slow, "Why", max_new_tokens=200, client=str(client))
    until_running(slow, 2)
    for client in range(3):
        submit(slow, "Why", client=str(client))
    with pytest.raises(Overloaded, match="3 requests are waiting already") as refusal:
        submit(slow, "Why", client="late")
    assert 1 <= refusal.value.retry_after <= 60


def test_a_queue_of_many_tokens_refuses(slow: Scheduler) -> None:
    long = "Where is it? " * 10
    for client in range(2):
        submit(slow, long, max_new_tokens=200, client=str(client))
        until_running(slow, client + 1)
    submit(slow, long, client="early")
    with pytest.raises(Overloaded, match="tokens are waiting already"):
        submit(slow, long, client="late")


def test_one_client_may_not_take_all(slow: Scheduler) -> None:
    for _ in range(3):
        submit(slow, "Why", client="busy")
    until_running(slow, 2)
    with pytest.raises(TooManyRequests, match="this client has 3 requests"):
        submit(slow, "Why", client="busy")
    submit(slow, "Why", client="calm")


def test_deadlines(slow: Scheduler) -> None:
    running = [submit(slow, "Why", max_new_tokens=100, timeout=0.3) for _ in range(2)]
    waiting = submit(slow, "Why", timeout=0.3)
    until_running(slow, 2)
    time.sleep(0.4)
    step(slow, 3)
    for answer in running:
        assert isinstance(answer.wait(), DeadlineExceeded)
    assert isinstance(waiting.wait(), Overloaded)
    assert "waited until its deadline" in str(waiting.all[-1])


def test_a_drained_scheduler_finishes_what_runs(slow: Scheduler) -> None:
    running = [submit(slow, "Why", max_new_tokens=6) for _ in range(2)]
    until_running(slow, 2)
    waiting = submit(slow, "Why", max_new_tokens=6)
    slow.drain()
    step(slow, 100)
    assert isinstance(waiting.wait(), ShuttingDown)
    assert [answer.wait().usage["generated_tokens"] for answer in running] == [6, 6]
    with pytest.raises(ShuttingDown):
        submit(slow, "Why")
    assert not slow.healthy


def test_a_close_that_may_not_wait_refuses_what_runs(slow: Scheduler) -> None:
    answer = submit(slow, "Why", max_new_tokens=100)
    until_running(slow, 1)
    threading.Timer(0.3, step, [slow, 2]).start()
    slow.close(timeout=0.1)
    assert isinstance(answer.wait(), ShuttingDown)


def test_a_failing_search_fails_its_request_only(rag: Any, scheduler: Scheduler, monkeypatch: Any) -> None:
    search = type(rag.index).search

    def fails(index: Any, embeddings: Any, k: int) -> Any:
        if k == 3:
            raise ConnectionError("the database does not answer")
        return search(index, embeddings, k)

    monkeypatch.setattr(type(rag.index), "search", fails)
    broken, right = (submit(scheduler, QUESTIONS[0], k=k, max_new_tokens=20) for k in (3, 1))
    assert isinstance(broken.wait(), EngineFailed) and "ConnectionError" in str(broken.all[-1])
    assert_same_result(right.wait().result, rag(QUESTIONS[0], max_new_tokens=20))


def test_after_a_failed_step_the_next_request_is_answered(rag: Any, scheduler: Scheduler, monkeypatch: Any) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(scheduler.engine._loop, "step", lambda: 1 / 0)
        assert isinstance(submit(scheduler, "Why").wait(), EngineFailed)
    assert submit(scheduler, "Why", max_new_tokens=5).wait().result == rag("Why", max_new_tokens=5)


def test_a_client_that_fails_to_receive_ends_nothing(scheduler: Scheduler) -> None:
    scheduler.submit(GenerationRequest("Why", max_new_tokens=5), lambda _: 1 / 0)  # type: ignore[arg-type,return-value]
    assert submit(scheduler, "Why", max_new_tokens=5).wait().usage["generated_tokens"] == 5


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"question": "   "}, "is empty"),
        ({"question": "Where is it? " * 200}, "the model's context holds 512"),
        ({"question": 5}, "a question must be"),
        ({"question": [{"role": "assistant", "content": "x"}]}, "must end with a turn to answer"),
        ({"question": "Why", "max_new_tokens": 5000}, "must be at most 1024"),
        ({"question": "Why", "threshold": 0.5, "retrieval": "always"}, "leave it out"),
        ({"question": "Why", "k": 10**6}, "must be from 1 to 50"),
        ({"question": "Why", "stop": ["a"] * 5}, "at most 4 strings"),
        ({"question": "Why", "temperature": float("nan")}, "must be a finite number"),
    ],
)
def test_what_can_not_be_answered_is_refused_by_name(
    scheduler: Scheduler, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        submit(scheduler, **settings)


def test_a_request_larger_than_the_storage(rag: Any) -> None:
    scheduler = scheduler_for(rag, batch_size=2, max_batch_tokens=64)
    with pytest.raises(ValueError, match="the server has room for 64: shorten"):
        submit(scheduler, QUESTIONS[1], max_new_tokens=60)
    scheduler.close()


def test_storage_stays_within_its_limit(rag: Any) -> None:
    scheduler = scheduler_for(rag, batch_size=8, max_batch_tokens=160)
    scheduler.start()
    answers = [submit(scheduler, "Why", max_new_tokens=10, max_hops=0) for _ in range(12)]
    most = 0
    while not all(answer.ended for answer in answers):
        most = max(most, scheduler.running)
        time.sleep(0.001)
    assert all(answer.wait().usage["generated_tokens"] for answer in answers)
    assert 1 < most <= 160 // 20
    scheduler.close()


def test_refusals_have_their_own_names() -> None:
    kinds = Refusal.__subclasses__()
    assert len({kind.code for kind in kinds}) == len(kinds) == 6
