"""The components of Haystack run in a pipeline, and in one that was saved and loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("haystack", reason="haystack is not installed (make test-integrations)")

from haystack import Document, Pipeline
from haystack.components.retrievers.in_memory import InMemoryEmbeddingRetriever
from haystack.components.writers import DocumentWriter
from haystack.document_stores.in_memory import InMemoryDocumentStore

from onegen_hf.index.encode import encode_passages
from onegen_hf.integrations.haystack import (
    OneGenAnswerer,
    OneGenDocumentEmbedder,
    OneGenRetriever,
    OneGenTextEmbedder,
)

QUESTION = "Where is it?"


def loaded_again(pipeline: Pipeline) -> Pipeline:
    return Pipeline.loads(pipeline.dumps(), unsafe=True)


def test_a_retriever(rag: Any, checkpoint: Path) -> None:
    pipeline = Pipeline()
    pipeline.add_component("retriever", OneGenRetriever(str(checkpoint), top_k=3))
    expected = rag.retrieve(QUESTION, 3)
    for each in (pipeline, loaded_again(pipeline)):
        documents = each.run({"retriever": {"query": QUESTION}})["retriever"]["documents"]
        assert [(d.id, d.content, d.meta["title"]) for d in documents] == [(p.id, p.text, p.title) for p in expected]
        assert [d.score for d in documents] == pytest.approx([p.score for p in expected], abs=1e-4)
        assert len(each.run({"retriever": {"query": QUESTION, "top_k": 1}})["retriever"]["documents"]) == 1


def test_an_answerer(checkpoint: Path) -> None:
    answerer = OneGenAnswerer(str(checkpoint), top_k=2, max_hops=2, max_new_tokens=20)
    assert answerer.run(query=QUESTION) == {"answers": []}  # the model writes no "Answer:"
    rag = answerer._ready()
    rag.model.onegen_config.answer_prefix = ""
    (answer,) = answerer.run(query=QUESTION)["answers"]
    expected = rag(QUESTION, k=2, max_hops=2, max_new_tokens=20)
    assert answer.data == expected.answer and answer.query == QUESTION
    assert [d.id for d in answer.documents] == [p.id for r in expected.retrievals for p in r.passages]
    assert answer.meta["usage"] == expected.usage and answer.meta["confidence"] == expected.confidence
    again = OneGenAnswerer.from_dict(answerer.to_dict())
    assert again.to_dict() == answerer.to_dict()


def test_embedders_around_a_document_store(rag: Any, checkpoint: Path) -> None:
    store = InMemoryDocumentStore(embedding_similarity_function="cosine")
    indexing = Pipeline()
    indexing.add_component("embedder", OneGenDocumentEmbedder(str(checkpoint)))
    indexing.add_component("writer", DocumentWriter(store))
    indexing.connect("embedder.documents", "writer.documents")
    documents = [
        Document(id="a", content="Tin Boat is a film.", meta={"title": "Tin Boat"}),
        Document(id="b", content="A town."),
    ]
    assert indexing.run({"embedder": {"documents": documents}})["writer"]["documents_written"] == 2
    passages = [{"id": d.id, "title": d.meta.get("title", ""), "text": d.content} for d in documents]
    expected = encode_passages(rag.model, rag.tokenizer, passages, show_progress=False).embeddings
    stored = sorted(store.filter_documents(), key=lambda document: document.id)
    np.testing.assert_allclose([document.embedding for document in stored], expected, atol=1e-5)
    searching = Pipeline()
    searching.add_component("embedder", OneGenTextEmbedder(str(checkpoint)))
    searching.add_component("retriever", InMemoryEmbeddingRetriever(store))
    searching.connect("embedder.embedding", "retriever.query_embedding")
    found = searching.run({"embedder": {"text": "Tin Boat"}})["retriever"]["documents"]
    assert {document.id for document in found} == {"a", "b"}
    assert OneGenDocumentEmbedder(str(checkpoint)).run(documents=[]) == {"documents": []}


def test_values_out_of_range() -> None:
    with pytest.raises(ValueError, match="top_k=0 must be at least 1"):
        OneGenRetriever(top_k=0)
