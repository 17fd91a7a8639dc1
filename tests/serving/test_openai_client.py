"""The official client works unchanged, and what is ours arrives in fields beside its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import openai
import pytest
import torch
from support.http_server import KEYS, Running
from support.serving_setup import QUESTIONS

from onegen_hf.index.encode import encode_passages

CHAT: list[Any] = [{"role": "user", "content": QUESTIONS[0]}]


@pytest.fixture
def client(server: Running) -> Iterator[openai.OpenAI]:
    with (
        httpx.Client(trust_env=False) as http,
        openai.OpenAI(
            base_url=f"{server.url}/v1", api_key=KEYS[0], max_retries=0, timeout=60, http_client=http
        ) as client,
    ):
        yield client


def written(events: Any) -> str:
    return "".join(event.text for event in events if event.type == "token")


def test_a_chat(client: openai.OpenAI, rag: Any) -> None:
    answer: Any = client.chat.completions.create(
        model="tiny", messages=CHAT, max_tokens=20, extra_body={"k": 2, "max_hops": 2}
    )
    expected = rag(CHAT, k=2, max_hops=2, max_new_tokens=20)
    assert answer.choices[0].message.content == written(rag.stream(CHAT, k=2, max_hops=2, max_new_tokens=20))
    assert answer.choices[0].finish_reason == "length" and answer.stop_reason == expected["stop_reason"]
    assert [len(hop["passages"]) for hop in answer.retrievals] == [2, 2]
    assert [(hop["hop"], hop["query"]) for hop in answer.retrievals] == [
        (hop["hop"], hop["query"]) for hop in expected["retrievals"]
    ]
    usage, counts = answer.usage, expected["usage"]
    assert (usage.prompt_tokens, usage.completion_tokens) == (counts["prompt_tokens"], counts["generated_tokens"])
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert (usage.retrieved_tokens, usage.forwarded_tokens) == (
        counts["retrieved_tokens"],
        counts["forwarded_tokens"],
    )


def test_a_stream(client: openai.OpenAI, rag: Any) -> None:
    stream = client.chat.completions.create(
        model="tiny", messages=CHAT, max_tokens=20, stream=True, stream_options={"include_usage": True}
    )
    chunks: list[Any] = list(stream)
    expected = rag(CHAT, max_new_tokens=20)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == written(rag.stream(CHAT, max_new_tokens=20))
    assert chunks[0].choices[0].delta.role == "assistant"
    # The events of a retrieval come between the words before and after it.
    events = [chunk.event["type"] for chunk in chunks if hasattr(chunk, "event")]
    assert events == ["query", "passages"] * len(expected["retrievals"])
    places = [place for place, chunk in enumerate(chunks) if hasattr(chunk, "event")]
    assert places[0] < max(n for n, c in enumerate(chunks) if c.choices and c.choices[0].delta.content)
    last, usage = chunks[-2:]
    assert last.choices[0].finish_reason == "stop" and len(last.retrievals) == len(expected["retrievals"])
    assert usage.choices == [] and usage.usage.completion_tokens == expected["usage"]["generated_tokens"]
    assert len({chunk.id for chunk in chunks}) == 1


def test_a_completion(client: openai.OpenAI, rag: Any) -> None:
    answer: Any = client.completions.create(model="tiny", prompt=QUESTIONS[1], max_tokens=8, temperature=0)
    streamed: Any = client.completions.create(model="tiny", prompt=QUESTIONS[1], max_tokens=8, stream=True)
    expected = rag(QUESTIONS[1], max_new_tokens=8)
    assert answer.choices[0].text == written(rag.stream(QUESTIONS[1], max_new_tokens=8))
    assert answer.choices[0].finish_reason == "length" and expected["stop_reason"] == "max_new_tokens"
    assert "".join(chunk.choices[0].text for chunk in streamed) == answer.choices[0].text
    assert answer.answer == expected["answer"]


def test_a_sampled_answer_is_that_of_its_seed(client: openai.OpenAI, rag: Any) -> None:
    options: Any = {"model": "tiny", "messages": CHAT, "max_tokens": 16, "temperature": 1.5, "top_p": 0.9}
    first, again, other = (
        client.chat.completions.create(seed=seed, **options).choices[0].message.content for seed in (5, 5, 6)
    )
    torch.manual_seed(5)
    events = rag.stream(CHAT, max_new_tokens=16, do_sample=True, temperature=1.5, top_p=0.9)
    assert first == again == written(events) != other


@pytest.mark.parametrize("streamed", [False, True])
def test_a_stop_string_ends_the_text_and_is_no_part_of_it(client: openai.OpenAI, rag: Any, streamed: bool) -> None:
    whole = written(rag.stream(CHAT, max_new_tokens=20))
    stop = "reUB"  # within a word of one token and in the next ones
    assert stop in whole
    options: Any = {"model": "tiny", "messages": CHAT, "max_tokens": 20, "stop": [stop, "never"]}
    if streamed:
        chunks = list(client.chat.completions.create(stream=True, **options))
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        reason = chunks[-1].choices[0].finish_reason
    else:
        choice = client.chat.completions.create(**options).choices[0]
        text, reason = choice.message.content, choice.finish_reason
    assert text == whole[: whole.index(stop)] and reason == "stop"


def test_embeddings(client: openai.OpenAI, rag: Any) -> None:
    texts = ["Tin Boat is a film by Ada Moll.", "Fern Bay is a town."]
    answer = client.embeddings.create(model="tiny", input=texts)  # as base64, which is the client's default
    expected = encode_passages(rag.model, rag.tokenizer, texts, show_progress=False).embeddings
    vectors = np.array([item.embedding for item in answer.data])
    np.testing.assert_allclose(vectors, expected, atol=1e-5)
    plain = client.embeddings.create(model="tiny", input=texts[0], encoding_format="float").data[0].embedding
    np.testing.assert_allclose(plain, expected[0], atol=1e-5)
    query = client.embeddings.create(model="tiny", input=texts[0], extra_body={"role": "query"})
    assert abs(np.dot(query.data[0].embedding, expected[0])) < 0.99
    assert query.usage.prompt_tokens > 0


def test_models(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["tiny", "linker"]
    assert client.models.retrieve("tiny").owned_by == "onegen-hf"
    with pytest.raises(openai.NotFoundError, match="not offered here"):
        client.models.retrieve("org/other")


def test_errors_are_those_of_the_client(client: openai.OpenAI, server: Running) -> None:
    with pytest.raises(openai.NotFoundError, match="is not offered here: 'tiny' is"):
        client.chat.completions.create(model="other", messages=CHAT)
    with pytest.raises(openai.BadRequestError, match="frequency_penalty is not supported"):
        client.chat.completions.create(model="tiny", messages=CHAT, frequency_penalty=1.0)
    with pytest.raises(openai.BadRequestError, match="the model's context holds 512"):
        client.completions.create(model="tiny", prompt="Where is it? " * 200)
    with pytest.raises(openai.AuthenticationError, match="the API key is missing or wrong"):
        client.with_options(api_key="wrong").models.list()
