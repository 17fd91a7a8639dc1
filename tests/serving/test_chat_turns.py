"""What was retrieved in earlier turns of a conversation stays, and an answer that is withheld stands nowhere."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from support.http_server import KEYS, Running, running_server
from support.serving_setup import QUESTIONS, alone

from onegen_hf.data.passages import Passage, PassageEncoder
from onegen_hf.serving import GenerationRequest
from onegen_hf.serving.remembered_turns import RememberedTurns

FOLLOW_UP = {"role": "user", "content": "And when?"}
OPTIONS: dict[str, Any] = {"model": "tiny", "max_tokens": 20, "extra_body": {"max_hops": 2}}


def first(question: str = QUESTIONS[0]) -> list[Any]:
    return [{"role": "user", "content": question}]


@pytest.fixture
def client(server: Running) -> Iterator[openai.OpenAI]:
    with httpx.Client(trust_env=False) as http:
        yield openai.OpenAI(base_url=f"{server.url}/v1", api_key=KEYS[0], max_retries=0, timeout=60, http_client=http)


def inserted(rag: Any, result: Any) -> list[list[int]]:
    """The ids of the passages of each hop."""
    encoder = PassageEncoder(rag.tokenizer, rag.model.onegen_config)
    return [
        [encoder.ids.query, *encoder.insertion([Passage.from_record(dict(p), 0) for p in hop["passages"]])]
        for hop in result["retrievals"]
    ]


def holds(ids: list[int], part: list[int]) -> bool:
    return any(ids[start : start + len(part)] == part for start in range(len(ids)))


def test_the_next_prompt_of_the_pipeline_holds_the_passages_of_the_last_answer(rag: Any) -> None:
    options = {"max_hops": 2, "max_new_tokens": 20}
    result = rag(first(), **options)
    hops = inserted(rag, result)
    assert len(hops) == 2
    chat = [*first(), result.as_message(), FOLLOW_UP]
    with_passages = rag.preprocess(chat)["prompt"]
    assert all(holds(with_passages, hop) for hop in hops)
    turn = {"role": "assistant", "content": result.content}
    without = rag.preprocess([*first(), turn, FOLLOW_UP])["prompt"]
    assert not any(holds(without, hop) for hop in hops)
    second = rag(chat, **options).usage
    assert second.prompt_tokens == len(with_passages)
    counted = second.prompt_tokens + second.generated_tokens + second.retrieved_tokens
    assert second.forwarded_tokens == counted - 1  # one pass: the last token is not fed
    # Through JSON, as a client keeps it.
    assert rag.preprocess(json.loads(json.dumps(chat)))["prompt"] == with_passages


def test_the_message_of_an_answer_is_sent_back_as_it_is(client: openai.OpenAI, rag: Any) -> None:
    chat = first()
    answer = client.chat.completions.create(messages=chat, **OPTIONS)
    chat += [answer.choices[0].message, FOLLOW_UP]
    second: Any = client.chat.completions.create(messages=chat, **OPTIONS)
    expected = rag(first(), max_hops=2, max_new_tokens=20)
    prompt = rag.preprocess([*first(), expected.as_message(), FOLLOW_UP])["prompt"]
    assert second.usage.prompt_tokens == len(prompt)
    assert all(holds(prompt, hop) for hop in inserted(rag, expected))
    own = rag([*first(), expected.as_message(), FOLLOW_UP], max_hops=2, max_new_tokens=20)
    assert second.choices[0].message.content == own.content


@pytest.mark.parametrize("streamed", [False, True])
def test_a_client_that_sends_only_text_is_remembered(client: openai.OpenAI, rag: Any, streamed: bool) -> None:
    if streamed:
        chunks = client.chat.completions.create(messages=first(), stream=True, **OPTIONS)
        content = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    else:
        content = client.chat.completions.create(messages=first(), **OPTIONS).choices[0].message.content or ""
    expected = rag(first(), max_hops=2, max_new_tokens=20)
    assert content == expected.content
    with_passages = len(rag.preprocess([*first(), expected.as_message(), FOLLOW_UP])["prompt"])

    def prompt_tokens(turn: dict[str, Any], key: str = KEYS[0]) -> int:
        messages = [*first(), turn, FOLLOW_UP]
        answer = client.with_options(api_key=key).chat.completions.create(messages=messages, **OPTIONS)
        return answer.usage.prompt_tokens

    turn = {"role": "assistant", "content": content}
    without = len(rag.preprocess([*first(), turn, FOLLOW_UP])["prompt"])
    assert prompt_tokens(turn) == with_passages > without
    assert prompt_tokens({**turn, "content": f" {content.strip()}\n"}) >= with_passages
    # Unless the client says otherwise, wrote something else, or is another one.
    assert prompt_tokens({**turn, "retrievals": []}) == without
    assert prompt_tokens({**turn, "content": "Fern Bay"}) < without
    assert prompt_tokens(turn, KEYS[1]) == without


def test_earlier_retrievals_are_checked(server: Running) -> None:
    def status(turn: dict[str, Any]) -> tuple[int, str]:
        body = {"messages": [*first(), turn, FOLLOW_UP], "max_tokens": 2}
        response = server.ask("/v1/chat/completions", body)
        return response.status_code, response.text

    turn = {"role": "assistant", "content": "Fern Bay"}
    hop = {"query": "Who?", "passages": [{"text": "Fern Bay is a town."}]}
    assert status({**turn, "retrievals": [hop]})[0] == 200
    assert status({**turn, "content": None})[0] == 200  # as OpenAI's API gives it with a refusal
    for wrong, message in (
        ({"retrievals": "x"}, "retrievals"),
        ({"retrievals": [{}]}, "passages: Field required"),
        ({"retrievals": [{"passages": [{}]}]}, "text: Field required"),
        ({"retrievals": [{"passages": [{"text": ""}]}]}, "has no text"),
        ({"retrievals": [hop] * 21}, "at most 20 items"),
        ({"retrievals": [hop], "role": "user"}, "only the assistant's turns have them"),
    ):
        code, text = status({**turn, **wrong})
        assert (code, message in text) == (400, True), text


def test_what_is_remembered_is_bounded() -> None:
    hop = {"query": "Who?", "position": 4, "passages": [{"id": "a", "title": "", "text": "x" * 40, "score": 0.5}]}

    def recalled(turns: RememberedTurns, content: str, client: str = "me") -> Any:
        turn = {"role": "assistant", "content": content}
        return turns.recall(client, [*first(), turn])[-1].get("retrievals")

    turns = RememberedTurns(2)
    for content in ("one", "two"):
        turns.remember("me", first(), content, [hop])
    assert recalled(turns, "one") == recalled(turns, "two")  # "one" was used before "two" here
    recalled(turns, "one")
    turns.remember("me", first(), "three", [hop])
    assert recalled(turns, "two") is None and recalled(turns, "one") and recalled(turns, "three")
    assert recalled(turns, "one", "you") is None
    assert turns.recall("me", [{"role": "user", "content": "x"}]) == [{"role": "user", "content": "x"}]
    turns.remember("me", first(), "four", [])
    assert recalled(turns, "four") is None and len(turns) == 2
    small = RememberedTurns(10, most_characters=100)
    for content in ("one", "two", "two", "three"):
        small.remember("me", first(), content, [hop])
    assert len(small) == 2 and recalled(small, "one") is None
    small.remember("me", first(), "long", [hop] * 3)
    assert len(small) == 0
    nothing = RememberedTurns(0)
    nothing.remember("me", first(), "one", [hop])
    assert len(nothing) == 0


@pytest.fixture(scope="module")
def answering(rag: Any) -> Iterator[Any]:
    """All that the model writes is its answer."""
    config = rag.model.onegen_config
    before, config.answer_prefix = config.answer_prefix, ""
    yield rag
    config.answer_prefix = before


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
def test_an_answer_that_is_withheld_stands_nowhere(answering: Any, path: str) -> None:
    request = GenerationRequest(QUESTIONS[0], max_new_tokens=20, max_hops=2)
    expected = alone(answering, request)
    least = expected["retrieval_confidence"]
    asked = {"prompt": QUESTIONS[0]} if path == "/v1/completions" else {"messages": first()}
    body = {**asked, "max_tokens": 20, "max_hops": 2}
    with running_server(answering, batch_size=4) as server:

        def ask(**options: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
            whole = server.ask(path, {**body, **options})
            stream = server.ask(path, {**body, **options, "stream": True})
            assert whole.status_code == stream.status_code == 200, whole.text
            lines = [line.removeprefix("data: ") for line in stream.text.split("\n\n") if line]
            return whole.json(), [json.loads(line) for line in lines[:-1]]

        def text(choice: dict[str, Any]) -> str:
            return str(choice.get("message", choice.get("delta", choice)).get("content", choice.get("text")) or "")

        for kept in ({"answer_threshold": least - 0.01}, {"answer_threshold": -1}, {}):
            whole, chunks = ask(**kept)
            assert text(whole["choices"][0]) == expected["content"] == "".join(text(c["choices"][0]) for c in chunks)
            assert whole["answered"] and whole["confidence"] == pytest.approx(expected["confidence"])
            # A threshold that is met holds nothing back.
            written = [place for place, chunk in enumerate(chunks) if text(chunk["choices"][0])]
            told = [place for place, chunk in enumerate(chunks) if "event" in chunk]
            assert written[0] < told[-1] and len(written) > 1
        whole, chunks = ask(answer_threshold=least + 0.01)
        short = next(
            place
            for place, chunk in enumerate(chunks)
            if chunk.get("event", {}).get("passages") and chunk["event"]["passages"][0]["score"] < least + 0.01
        )
        for choice in (whole["choices"][0], *(chunk["choices"][0] for chunk in chunks[short:])):
            assert text(choice) == ""
        for result in (whole, chunks[-1]):
            assert result["answer"] == "" and result["answered"] is False and result["confidence"] is None
            assert result["answer_threshold"] == pytest.approx(least + 0.01) and result["citations"] == []
            assert result["retrieval_confidence"] == pytest.approx(least)
            assert len(result["retrievals"]) == 2
        assert [chunk["event"]["type"] for chunk in chunks if "event" in chunk] == ["query", "passages"] * 2
        if path == "/v1/chat/completions":
            reason = "The passages do not answer this"
            assert whole["choices"][0]["message"]["refusal"].startswith(reason)
            assert chunks[-1]["choices"][0]["delta"]["refusal"].startswith(reason)
            assert "retrievals" not in whole["choices"][0]["message"]


def test_the_checkpoints_threshold_holds_unless_the_request_has_its_own(answering: Any) -> None:
    config = answering.model.onegen_config
    config.answer_threshold = 0.999
    try:
        with running_server(answering, batch_size=4) as server:
            body = {"messages": first(), "max_tokens": 12, "retrieval": "always"}
            answers = [
                server.ask("/v1/chat/completions", {**body, **options}).json()
                for options in ({}, {"answer_threshold": -1}, {"answer_threshold": None})
            ]
        assert [answer["answered"] for answer in answers] == [False, True, False]
    finally:
        config.answer_threshold = None


def test_a_result_that_was_withheld_leaves_nothing_in_the_chat(answering: Any) -> None:
    result = answering(first(), retrieval="always", max_new_tokens=12, answer_threshold=0.999)
    assert not result.answered and result.content
    assert result.as_message() == {"role": "assistant", "content": ""}
