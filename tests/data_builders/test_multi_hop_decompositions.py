"""Decompositions from a side file, and from a model behind an endpoint on this machine."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from support.builder_records import build, record, write_lines

from data_builders.errors import RecordError
from data_builders.multi_hop.converter import MultiHopConverter
from data_builders.multi_hop.llm import LlmDecomposer, Question, parse_reply
from data_builders.multi_hop.response_cache import ResponseCache

STEPS = record()["decomposition"]
BARE = record(decomposition=None)
KEY = "a-secret-of-this-test"
QUESTION = Question("q", "Who?", "Ada Moll", (("The Tin Boat", "It is a film."),))


@pytest.mark.parametrize("form", ["object", "indented object", "lines"])
def test_a_side_file(tmp_path: Path, form: str) -> None:
    side = tmp_path / "side.json"
    if form == "lines":
        write_lines(side, [{"id": "r1", "decomposition": STEPS}])
    else:
        side.write_text(json.dumps({"r1": STEPS}, indent=2 if form.startswith("indented") else None))
    path = write_lines(tmp_path / "a.jsonl", [BARE, {**BARE, "id": "r2"}])
    built = build(tmp_path / "out", path, converter=MultiHopConverter(decompositions=str(side)))
    assert built.counts["meta"]["decomposition"] == {"side_file": 1, "heuristic": 1}
    expected = build(tmp_path / "given", write_lines(tmp_path / "b.jsonl", [record()]))
    assert built.examples[0]["messages"] == expected.examples[0]["messages"]


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ('{"decomposition": []}', RecordError, "side.json, line 1: the field `id` is missing"),
        ('{"r1": "x"}', RecordError, "line 1: the decomposition of 'r1' is no list"),
        ("{}", ValueError, "no decomposition in this file"),
        ("", RecordError, "side.json: the file is empty"),
    ],
)
def test_a_malformed_side_file(tmp_path: Path, text: str, error: type[Exception], message: str) -> None:
    (tmp_path / "side.json").write_text(text)
    with pytest.raises(error, match=message):
        MultiHopConverter(decompositions=str(tmp_path / "side.json"))


class Endpoint:
    """An OpenAI-compatible endpoint; `answer` gives status and content for the number of the request."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.answer: Callable[[int], tuple[int, Any]] = lambda number: (200, json.dumps(STEPS))
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                endpoint.requests.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                endpoint.keys.append(self.headers["Authorization"])
                status, content = endpoint.answer(len(endpoint.requests))
                body = json.dumps({"choices": [{"message": {"content": content}}]}).encode()
                self.send_response(status if self.path == "/v1/chat/completions" else 404)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    started = Endpoint()
    thread = threading.Thread(target=started.server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield started
    started.server.shutdown()
    started.server.server_close()


def decomposer(endpoint: Endpoint, tmp_path: Path, **options: Any) -> LlmDecomposer:
    return LlmDecomposer(endpoint.url, "tiny", str(tmp_path / "cache.jsonl"), backoff=0.0, **options)


def converter(endpoint: Endpoint, tmp_path: Path) -> MultiHopConverter:
    return MultiHopConverter(llm_url=endpoint.url, llm_model="tiny", llm_cache=str(tmp_path / "cache.jsonl"))


def test_a_model_decomposes_once(tmp_path: Path, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    rows = [{**BARE, "id": f"r{n}", "question": f"Question {n}?"} for n in range(20)]
    path = write_lines(tmp_path / "a.jsonl", [*rows, record(), {**BARE, "answer": None}])
    built = build(tmp_path / "one", path, converter=converter(endpoint, tmp_path))
    assert built.counts["meta"]["decomposition"] == {"given": 1, "llm": 20}
    assert built.counts["dropped"] == {"no_answer": 1}
    assert len(endpoint.requests) == 20 and set(endpoint.keys) == {f"Bearer {KEY}"}
    shown = endpoint.requests[0]["messages"][1]["content"]
    assert "Ada Moll (4 May 1950) is a director." in shown and "Fern Bay" not in shown
    again = build(tmp_path / "two", path, converter=converter(endpoint, tmp_path))
    assert len(endpoint.requests) == 20 and again == built
    written = [file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()]
    assert not any(KEY.encode() in content for content in written)
    assert len((tmp_path / "cache.jsonl").read_text().splitlines()) == 20


@pytest.mark.parametrize(
    "content", ["I can't.", "[]", json.dumps(STEPS[:1]), json.dumps([{**STEPS[0], "title": "Nobody"}]), None, 7]
)
def test_an_invalid_reply_is_counted_and_falls_back(tmp_path: Path, endpoint: Endpoint, content: Any) -> None:
    endpoint.answer = lambda number: (200, content)
    path = write_lines(tmp_path / "a.jsonl", [BARE])
    built = build(tmp_path / "out", path, converter=converter(endpoint, tmp_path))
    assert built.counts["meta"]["decomposition"] == {"heuristic": 1}
    assert built.counts["meta"]["decomposition_failure"] == {"invalid_reply": 1}


def test_failures_are_repeated(tmp_path: Path, endpoint: Endpoint) -> None:
    endpoint.answer = lambda number: (503 if number < 4 else 200, "[]")
    assert decomposer(endpoint, tmp_path).hops(QUESTION) is None
    assert len(endpoint.requests) == 4


def test_a_question_that_is_refused_does_not_stop_the_others(tmp_path: Path, endpoint: Endpoint) -> None:
    endpoint.answer = lambda number: (
        400 if number == 1 else 200,
        '[{"sub_question": "a", "answer": "b", "title": "T"}]',
    )
    asked = decomposer(endpoint, tmp_path)
    assert asked.hops(Question("1", "a", "b", (("T", "t"),))) is None
    assert asked.hops(Question("2", "c", "b", (("T", "t"),))) is not None


def test_an_endpoint_that_refuses_to_work_stops_the_build(tmp_path: Path, endpoint: Endpoint) -> None:
    endpoint.answer = lambda number: (401, "")
    with pytest.raises(ConnectionError, match="answered 401 .*environment variable OPENAI_API_KEY"):
        build(
            tmp_path / "out",
            write_lines(tmp_path / "a.jsonl", [BARE]),
            converter=converter(endpoint, tmp_path),
            on_error="skip",
        )
    endpoint.server.server_close()
    with pytest.raises(ConnectionError, match="can't be reached .*; check `llm_url`"):
        decomposer(endpoint, tmp_path, retries=1, timeout=0.2).hops(QUESTION)


def test_a_run_that_was_interrupted_goes_on(tmp_path: Path, endpoint: Endpoint) -> None:
    questions = [QUESTION._replace(id=str(n), question=f"Who {n}?") for n in range(5)]
    endpoint.answer = lambda number: (200 if number <= 3 else 401, "[]")
    with pytest.raises(ConnectionError):
        decomposer(endpoint, tmp_path, workers=1).prepare(questions)
    with (tmp_path / "cache.jsonl").open("a") as stream:
        stream.write('{"key": "cut')
    endpoint.answer = lambda number: (200, "[]")
    asked = len(endpoint.requests)
    decomposer(endpoint, tmp_path, workers=1).prepare(questions)
    assert len(endpoint.requests) == asked + 2
    assert len([json.loads(line) for line in (tmp_path / "cache.jsonl").read_text().splitlines()]) == 5


def test_another_file_is_no_cache(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a.jsonl, line 1: no entry of a cache"):
        ResponseCache(write_lines(tmp_path / "a.jsonl", [record()]))


@pytest.mark.parametrize(
    "around", ["{}", "Sure:\n```json\n{}\n```", '<think>a [b] c</think>\n{{"decomposition": {}}}']
)
def test_a_list_is_found_in_a_reply(around: str) -> None:
    hops = parse_reply(around.format(json.dumps(STEPS, indent=1)), ["Ada Moll", "The Tin Boat"])
    assert hops is not None and [hop.title for hop in hops] == ["The Tin Boat", "Ada Moll"]
