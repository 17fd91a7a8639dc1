"""The adapters pass LangChain's standard tests, and its OpenAI client speaks with the server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest

pytest.importorskip("langchain_openai", reason="langchain_openai is not installed (make test-integrations)")
pytest.importorskip("langchain_tests", reason="langchain_tests is not installed (make test-integrations)")

from langchain_core.messages import HumanMessage
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_openai import ChatOpenAI
from langchain_tests.integration_tests import (
    ChatModelIntegrationTests,
    EmbeddingsIntegrationTests,
    RetrieversIntegrationTests,
)
from langchain_tests.unit_tests import EmbeddingsUnitTests
from support.http_server import KEYS, running_server

from onegen_hf.index.encode import encode_passages
from onegen_hf.integrations.langchain import OneGenEmbeddings, OneGenRetriever

TEXTS = ["Tin Boat is a film by Ada Moll.", "Fern Bay is a town in the north."]


class TestRetriever(RetrieversIntegrationTests):
    @pytest.fixture(autouse=True)
    def _searcher(self, rag: Any) -> None:
        self.searcher = rag.index

    @property
    def retriever_constructor(self) -> Any:
        return OneGenRetriever

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        return {"searcher": self.searcher}

    @property
    def retriever_query_example(self) -> str:
        return "Who made Tin Boat?"


class OfRag:
    """What the standard tests of embeddings make their model of."""

    @pytest.fixture(autouse=True)
    def _model(self, rag: Any) -> None:
        self.rag = rag

    @property
    def embeddings_class(self) -> Any:
        return OneGenEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"model": self.rag.model, "tokenizer": self.rag.tokenizer}


class TestEmbeddings(OfRag, EmbeddingsUnitTests):
    pass


class TestEmbeddingsOfTexts(OfRag, EmbeddingsIntegrationTests):
    pass


@pytest.fixture(scope="module")
def url(rag: Any) -> Iterator[str]:
    with running_server(rag, batch_size=6, max_client_requests=64) as running:
        yield f"{running.url}/v1"


def of_server(url: str, http: httpx.Client) -> dict[str, Any]:
    """Arguments of `ChatOpenAI`."""
    clients = {"http_client": http, "http_async_client": httpx.AsyncClient(trust_env=False)}
    options = {"max_tokens": 20, "max_retries": 0, "stream_usage": True}
    return {"model": "tiny", "base_url": url, "api_key": KEYS[0], **options, **clients}


class TestChat(ChatModelIntegrationTests):
    """`ChatOpenAI` at our server, without what the server refuses by name: tools, pictures, JSON."""

    has_tool_calling = has_tool_choice = has_structured_output = False
    supports_image_inputs = supports_json_mode = supports_anthropic_inputs = False

    @pytest.fixture(autouse=True)
    def _url(self, url: str) -> Iterator[None]:
        with httpx.Client(trust_env=False) as http:
            self.url, self.http = url, http
            yield

    @property
    def chat_model_class(self) -> Any:
        return ChatOpenAI

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return of_server(self.url, self.http)


def test_a_retriever_gives_documents_with_what_the_index_knows(rag: Any) -> None:
    expected = rag.index.search_text("Who made Tin Boat?", 2)
    documents = OneGenRetriever(searcher=rag.index, k=2).invoke("Who made Tin Boat?")
    assert [(d.id, d.page_content, d.metadata["title"], d.metadata["score"]) for d in documents] == [
        (p.id, p.text, p.title, p.score) for p in expected
    ]
    asked = OneGenRetriever(searcher=rag, k=2).invoke("Where is it?")
    assert [d.id for d in asked] == [p.id for p in rag.retrieve("Where is it?", 2)]
    with pytest.raises(TypeError, match="searcher='index' has no search_text: pass a PassageIndex"):
        OneGenRetriever(searcher="index")
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        OneGenRetriever(searcher=rag, k=0)


def test_embeddings_are_those_of_an_index(rag: Any) -> None:
    embeddings = OneGenEmbeddings(rag.model, rag.tokenizer)
    expected = encode_passages(rag.model, rag.tokenizer, TEXTS, show_progress=False).embeddings
    np.testing.assert_allclose(embeddings.embed_documents(TEXTS), expected, atol=1e-5)
    store = InMemoryVectorStore.from_texts(TEXTS, embeddings)
    assert {d.page_content for d in store.similarity_search("Where is Fern Bay?", k=2)} == set(TEXTS)


def test_a_chat_reads_what_the_last_turn_retrieved(rag: Any, url: str) -> None:
    with httpx.Client(trust_env=False) as http:
        chat = ChatOpenAI(**of_server(url, http), extra_body={"max_hops": 2})
        first = HumanMessage("Where is it?")
        answer = chat.invoke([first])
        again = chat.invoke([first, answer, HumanMessage("And when?")])
    question = [{"role": "user", "content": "Where is it?"}]
    expected = rag(question, max_hops=2, max_new_tokens=20)
    assert answer.content == expected.content and expected.retrievals
    chat_so_far = [*question, expected.as_message(), {"role": "user", "content": "And when?"}]
    assert again.usage_metadata["input_tokens"] == len(rag.preprocess(chat_so_far)["prompt"])
