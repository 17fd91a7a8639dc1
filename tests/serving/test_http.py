"""Every request is answered right or refused by name, whatever comes in and whoever goes away."""

from __future__ import annotations

import json
import random
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import httpx
import pytest
from support.http_server import KEYS, Running, running_server
from support.serving_setup import QUESTIONS

CHAT = {"messages": [{"role": "user", "content": QUESTIONS[0]}], "max_tokens": 20}
LONG = {"messages": [{"role": "user", "content": QUESTIONS[2]}], "max_tokens": 400, "retrieval": "never"}
"""Takes 140 tokens."""
JSON = {"Content-Type": "application/json"}
MEGABYTE = "Where is it? " * 100_000


def until(condition: Any, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def error(response: httpx.Response) -> tuple[int, str]:
    body = response.json()["error"]
    assert set(body) == {"message", "type", "param", "code"} and body["message"]
    return response.status_code, body["code"]


def sse(text: str) -> list[Any]:
    """The chunks of a stream that was read to its end."""
    assert text.endswith("data: [DONE]\n\n")
    return [json.loads(line.removeprefix("data: ")) for line in text.split("\n\n")[:-2]]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, "invalid_json"),
        (b"[" * 100_000, 400, "invalid_json"),
        (b"\xff\xfe", 400, "invalid_json"),
        (b"", 400, "invalid_request"),
        (b"[]", 400, "invalid_request"),
        (b'{"messages": []}', 400, "invalid_request"),
        (b'{"messages": "Why"}', 400, "invalid_request"),
        (b'{"messages": [{"role": "tool", "content": "x"}]}', 400, "invalid_request"),
        (b'{"messages": [{"role": "assistant", "content": "x"}]}', 400, "invalid_request"),
        (b'{"messages": [{"role": "user", "content": "\\ud800"}]}', 400, "invalid_request"),
        (b'{"messages": [{"role": "user", "content": " "}]}', 400, "invalid_request"),
        (b'{"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}', 400, "invalid_request"),
    ],
)
def test_malformed_bodies(server: Running, body: bytes, status: int, code: str) -> None:
    with server.client() as client:
        assert error(client.post("/v1/chat/completions", content=body, headers=JSON)) == (status, code)


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("max_tokens", 0, "invalid_request"),
        ("max_tokens", 10**9, "invalid_request"),
        ("temperature", "hot", "invalid_request"),
        ("temperature", -1, "invalid_request"),
        ("top_p", 0, "invalid_request"),
        ("seed", -1, "invalid_request"),
        ("seed", 10**30, "invalid_request"),
        ("stop", ["a"] * 5, "invalid_request"),
        ("stop", [""], "invalid_request"),
        ("k", 10**6, "invalid_request"),
        ("k", True, "invalid_request"),
        ("max_hops", -1, "invalid_request"),
        ("retrieval", "sometimes", "invalid_request"),
        ("threshold", 2, "invalid_request"),
        ("timeout", 0, "invalid_request"),
        ("n", 2, "unsupported_parameter"),
        ("tools", [{"type": "function"}], "unsupported_parameter"),
        ("logit_bias", {"5": 1}, "unsupported_parameter"),
        ("response_format", {"type": "json_object"}, "unsupported_parameter"),
        ("index", "/etc/passwd", "unsupported_parameter"),
        ("logits_processor", [], "unsupported_parameter"),
        ("model", "/etc/passwd", "model_not_found"),
    ],
)
def test_values_out_of_range(server: Running, field: str, value: Any, code: str) -> None:
    status, named = error(server.ask("/v1/chat/completions", {**CHAT, field: value}))
    assert (status, named) == (404 if code == "model_not_found" else 400, code)


@pytest.mark.parametrize(
    "others",
    [
        {"n": 1, "user": "me", "frequency_penalty": 0, "logprobs": None, "tools": [], "metadata": {"a": "b"}},
        {"max_completion_tokens": 20, "response_format": {"type": "text"}},
    ],
)
def test_fields_that_ask_for_nothing(server: Running, others: dict[str, Any]) -> None:
    plain, other = (server.ask("/v1/chat/completions", body).json() for body in (CHAT, {**CHAT, **others}))
    assert plain["choices"] == other["choices"]


def test_a_bodys_size_is_limited_announced_or_not(server: Running) -> None:
    body = json.dumps({"messages": [{"role": "user", "content": MEGABYTE}]}).encode()
    with server.client() as client:
        for content in (body, (body[start : start + 65536] for start in range(0, len(body), 65536))):
            try:
                response = client.post("/v1/chat/completions", content=content)
            except httpx.WriteError:  # closed before all of it was sent
                continue
            assert error(response) == (413, "body_too_large")
    assert server.ask("/v1/chat/completions", CHAT).status_code == 200


def test_a_long_question_that_fits_the_body(server: Running) -> None:
    started = time.monotonic()
    assert error(server.ask("/v1/completions", {"prompt": "Where is it? " * 70_000})) == (400, "invalid_request")
    assert time.monotonic() - started < 30


@pytest.mark.parametrize("key", [None, "wrong", "first-key2"])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/embeddings", "/v1/models", "/metrics"])
def test_keys(server: Running, key: str | None, path: str) -> None:
    with server.client(key) as client:
        method = "GET" if path in ("/v1/models", "/metrics") else "POST"
        assert error(client.request(method, path, json=CHAT)) == (401, "invalid_api_key")
        assert client.get("/health").json()["status"] == "ok"


def test_unknown_paths_and_methods(server: Running) -> None:
    with server.client() as client:
        assert error(client.get("/v1/files")) == (404, "not_found")
        assert error(client.get("/v1/../../etc/passwd")) == (404, "not_found")
        assert error(client.get("/v1/chat/completions")) == (405, "method_not_allowed")


def test_without_keys_everybody_may_ask_and_pages_of_other_origins_may_not(rag: Any) -> None:
    origin = {"Origin": "https://elsewhere.example"}
    with running_server(rag, app_options={"api_keys": ()}) as server, server.client(None) as client:
        response = client.post("/v1/chat/completions", json=CHAT, headers=origin)
        assert response.status_code == 200 and "access-control-allow-origin" not in response.headers
    with running_server(rag, app_options={"cors_origins": [origin["Origin"]]}) as server:
        with server.client() as client:
            response = client.post("/v1/chat/completions", json=CHAT, headers=origin)
        assert response.headers["access-control-allow-origin"] == origin["Origin"]


def test_the_api_is_documented(server: Running) -> None:
    with server.client(None) as client:
        paths = client.get("/openapi.json").json()["paths"]
        assert client.get("/docs").status_code == 200
    assert set(paths) == {
        "/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/retrieve", "/v1/link", "/v1/models",
        "/v1/models/{name}", "/health", "/metrics",
    }  # fmt: skip


def test_retrieve(server: Running, rag: Any) -> None:
    found = server.ask("/v1/retrieve", {"question": QUESTIONS[0], "k": 3}).json()
    expected = rag.retrieve(QUESTIONS[0], k=3)
    assert [passage["id"] for passage in found["passages"]] == [passage.id for passage in expected]
    assert found["query"] == rag(QUESTIONS[0])["retrievals"][0]["query"]
    until(lambda: not server.services.scheduler.running)  # nothing is generated after the passages


def test_a_filter_reaches_the_search_and_a_wrong_one_is_refused(server: Running) -> None:
    assert (
        server.ask("/v1/retrieve", {"question": QUESTIONS[0], "filter": {"lang": "nowhere"}}).json()["passages"] == []
    )
    found = server.ask("/v1/retrieve", {"question": QUESTIONS[0], "filter": {"lang": {"$ne": "nowhere"}}}).json()
    assert found["passages"]
    for path, body in (("/v1/retrieve", {"question": QUESTIONS[0]}), ("/v1/chat/completions", CHAT)):
        refused = server.ask(path, {**body, "filter": {"year": {"$gte": None}}})
        assert refused.status_code == 400 and "filter['year']['$gte']=None" in refused.json()["error"]["message"]


def test_link(server: Running, linker: Any) -> None:
    text = "Ada Moll lives in Fern Bay."
    given = server.ask("/v1/link", {"text": text, "spans": [[18, 26]], "top_k": 2}).json()
    expected = json.loads(json.dumps(linker({"text": text, "spans": [[18, 26]]}, top_k=2)))
    assert given["mentions"] == expected
    free = server.ask("/v1/link", {"text": text}).json()
    assert free["mentions"] == json.loads(json.dumps(linker(text)))
    assert error(server.ask("/v1/link", {"text": text, "spans": [[20, 300]]})) == (400, "invalid_request")


def test_more_embeddings_than_may_wait(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onegen_hf.serving.http.services.MOST_CALLS", 2)
    begun = threading.Barrier(3, timeout=30)
    embed = server.services.embedder.embed  # type: ignore[union-attr]

    def waits(texts: Any, role: str) -> Any:
        release.wait(30)
        return embed(texts, role)

    release = threading.Event()
    monkeypatch.setattr(server.services.embedder, "embed", waits)

    def ask() -> httpx.Response:
        begun.wait()
        return server.ask("/v1/embeddings", {"input": "a"})

    with ThreadPoolExecutor(3) as threads:
        answers = [threads.submit(ask) for _ in range(3)]
        until(lambda: any(answer.done() for answer in answers))
        release.set()
        assert sorted(answer.result().status_code for answer in answers) == [200, 200, 503]


def test_a_server_without_a_linker(rag: Any) -> None:
    with running_server(rag) as server:
        assert error(server.ask("/v1/link", {"text": "Ada"})) == (501, "not_supported")


@pytest.mark.parametrize(
    "body",
    [
        {"input": ""},
        {"input": []},
        {"input": [[1, 2, 3]]},
        {"input": ["a"] * 300},
        {"input": "a", "dimensions": 5},
        {"input": "a", "role": "judge"},
        {"input": "a", "path": "/etc/passwd"},
    ],
)
def test_embeddings_that_can_not_be(server: Running, body: Any) -> None:
    assert error(server.ask("/v1/embeddings", body))[0] == 400


@pytest.fixture
def ended(server: Running, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """How requests ended, and after how many tokens."""
    outcomes: list[tuple[str, int]] = []
    note = server.services.metrics.ended

    def noted(ticket: Any, outcome: str) -> None:
        outcomes.append((outcome, ticket.job.row.usage.generated_tokens))
        note(ticket, outcome)

    monkeypatch.setattr(server.services.metrics, "ended", noted)
    return outcomes


def test_a_reader_who_goes_away_stops_the_decoding(server: Running, ended: list[tuple[str, int]]) -> None:
    body = {**LONG, "stream": True}
    with server.client() as client, client.stream("POST", "/v1/chat/completions", json=body) as response:
        next(response.iter_lines())
    until(lambda: ended)
    assert ended[0][0] == "cancelled" and ended[0][1] < 140


def test_a_caller_who_goes_away_stops_the_decoding(server: Running, ended: list[tuple[str, int]]) -> None:
    body = json.dumps(LONG).encode()
    scheduler = server.services.scheduler
    host, port = server.url.removeprefix("http://").split(":")
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {KEYS[0]}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(head.encode() + body)
        until(lambda: scheduler.running == 1)
    until(lambda: ended)
    assert ended[0][0] == "cancelled" and ended[0][1] < 140


def test_too_much_is_refused_with_the_time_to_try_again(rag: Any) -> None:
    with running_server(rag, batch_size=1, max_waiting=1, max_client_requests=2) as server:
        body = LONG
        with ThreadPoolExecutor(12) as threads:
            answers = list(threads.map(lambda n: server.ask("/v1/chat/completions", body, KEYS[n % 2]), range(12)))
        refused = [answer for answer in answers if answer.status_code != 200]
        assert {error(answer) for answer in refused} <= {(429, "too_many_requests"), (503, "overloaded")}
        assert len(refused) >= 6 and all(1 <= int(answer.headers["Retry-After"]) <= 60 for answer in refused)


def test_a_deadline(server: Running) -> None:
    body = {**LONG, "timeout": 0.05}
    assert error(server.ask("/v1/chat/completions", body)) == (504, "deadline_exceeded")
    with server.client() as client:
        text = client.post("/v1/chat/completions", json={**body, "stream": True}).text
    assert json.loads(text.rstrip().rpartition("data: ")[2])["error"]["code"] == "deadline_exceeded"


def test_metrics(rag: Any) -> None:
    with running_server(rag) as server, server.client() as client:
        usage = server.ask("/v1/chat/completions", CHAT).json()["usage"]
        server.ask("/v1/chat/completions", {**CHAT, "n": 2})
        text = client.get("/metrics").text
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    counts = {name: float(value) for name, value in lines.items()}
    ours = 'endpoint="/v1/chat/completions"'
    assert counts[f'onegen_requests_total{{{ours},outcome="ok"}}'] == 1
    assert counts[f'onegen_requests_total{{{ours},outcome="unsupported_parameter"}}'] == 1
    for kind in ("forwarded", "retrieved", "prompt"):
        assert counts[f'onegen_tokens_total{{kind="{kind}"}}'] == usage[f"{kind}_tokens"]
    assert counts["onegen_hops_count"] == 1 and counts["onegen_hops_sum"] >= 1
    for phase in ("waiting", "first_token", "decoding", "total"):
        assert counts[f'onegen_phase_seconds_count{{phase="{phase}"}}'] == 1
    assert counts["onegen_running_requests"] == counts["onegen_waiting_requests"] == 0


def _mix(answered: Any, server: Running, seed: int) -> None:
    """One client with one of the things that clients do."""
    chance = random.Random(seed)
    question, tokens = chance.choice(QUESTIONS), chance.choice([1, 7, 24])
    body: dict[str, Any] = {"prompt": question, "max_tokens": tokens, "k": chance.randint(1, 2)}
    kind = chance.choice(["whole", "whole", "streamed", "streamed", "cancelled", "long", "key", "json", "deadline"])
    with server.client("wrong" if kind == "key" else chance.choice(KEYS)) as client:
        if kind == "key":
            assert error(client.post("/v1/completions", json=body)) == (401, "invalid_api_key")
        elif kind == "json":
            assert error(client.post("/v1/completions", content=b'{"prompt":', headers=JSON)) == (400, "invalid_json")
        elif kind == "long":
            assert error(client.post("/v1/completions", json={"prompt": question * 2000}))[0] == 400
        elif kind == "deadline":
            response = client.post("/v1/completions", json={**body, "max_tokens": 300, "timeout": 0.001})
            assert error(response) in {(504, "deadline_exceeded"), (503, "overloaded")}
        elif kind == "cancelled":
            with client.stream("POST", "/v1/completions", json={**body, "stream": True}) as response:
                next(response.iter_lines(), None)
        else:
            streamed = kind == "streamed"
            response = client.post("/v1/completions", json={**body, "stream": streamed})
            assert response.status_code == 200
            text, expected = answered(question, tokens, body["k"])
            if streamed:
                chunks = sse(response.text)
                last = chunks[-1]
                assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == text
            else:
                last = response.json()
                assert last["choices"][0]["text"] == text
            ids = [[passage["id"] for passage in hop["passages"]] for hop in last["retrievals"]]
            assert ids == [[passage.id for passage in hop.passages] for hop in expected.retrievals]
            assert (last["answer"], last["stop_reason"]) == (expected.answer, expected.stop_reason)


def test_random_mixes(rag: Any, server: Running) -> None:
    @lru_cache
    def answered(question: str, tokens: int, k: int) -> tuple[str, Any]:
        events = list(rag.stream(question, max_new_tokens=tokens, k=k))
        return "".join(event.text for event in events if event.type == "token"), events[-1].result

    for question in QUESTIONS:
        for tokens in (1, 7, 24):
            answered(question, tokens, 1), answered(question, tokens, 2)
    with ThreadPoolExecutor(10) as threads:
        for outcome in [threads.submit(_mix, answered, server, seed) for seed in range(80)]:
            outcome.result()
    scheduler = server.services.scheduler
    until(lambda: not scheduler.running and not scheduler.waiting)
    assert scheduler.healthy and threading.active_count() < 200
