"""The adapters to LlamaIndex give what an index and its model give."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

pytest.importorskip("llama_index.core", reason="llama_index is not installed (make test-integrations)")

from llama_index.core import Document, MockEmbedding, Settings, VectorStoreIndex
from llama_index.core.llms import MockLLM
from llama_index.core.postprocessor import SimilarityPostprocessor
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.response_synthesizers import ResponseMode, get_response_synthesizer

from onegen_hf.index.encode import encode_passages
from onegen_hf.integrations.llama_index import OneGenEmbedding, OneGenRetriever

TEXTS = ["Tin Boat is a film by Ada Moll.", "Fern Bay is a town in the north."]


def test_a_retriever(rag: Any) -> None:
    expected = rag.index.search_text("Who made Tin Boat?", 3)
    retriever = OneGenRetriever(rag.index, similarity_top_k=3)
    nodes = retriever.retrieve("Who made Tin Boat?")
    assert [(n.node.node_id, n.text, n.metadata["title"], n.score) for n in nodes] == [
        (p.id, p.text, p.title, p.score) for p in expected
    ]
    assert [n.node.node_id for n in asyncio.run(retriever.aretrieve("Who made Tin Boat?"))] == [p.id for p in expected]
    asked = OneGenRetriever(rag).retrieve("Where is it?")
    assert [n.node.node_id for n in asked] == [p.id for p in rag.retrieve("Where is it?", 2)]
    with pytest.raises(ValueError, match="similarity_top_k=0 must be at least 1"):
        OneGenRetriever(rag, similarity_top_k=0)
    with pytest.raises(TypeError, match="searcher=None has no search_text: pass a PassageIndex"):
        OneGenRetriever(None)


def test_a_query_engine_over_the_retriever(rag: Any) -> None:
    Settings.embed_model, Settings.llm = MockEmbedding(4), MockLLM()
    synthesizer = get_response_synthesizer(response_mode=ResponseMode.NO_TEXT)
    engine = RetrieverQueryEngine(
        OneGenRetriever(rag.index, similarity_top_k=3), synthesizer, [SimilarityPostprocessor(similarity_cutoff=-1)]
    )
    found = engine.query("Who made Tin Boat?").source_nodes
    assert [n.node.node_id for n in found] == [p.id for p in rag.index.search_text("Who made Tin Boat?", 3)]


def test_embeddings(rag: Any) -> None:
    embedding = OneGenEmbedding(rag.model, rag.tokenizer, embed_batch_size=1)
    expected = encode_passages(rag.model, rag.tokenizer, TEXTS, show_progress=False).embeddings
    np.testing.assert_allclose(embedding.get_text_embedding_batch(TEXTS), expected, atol=1e-5)
    np.testing.assert_allclose(embedding.get_text_embedding(TEXTS[1]), expected[1], atol=1e-5)
    query = embedding.get_query_embedding(TEXTS[0])
    assert query == asyncio.run(embedding.aget_query_embedding(TEXTS[0]))
    assert abs(np.dot(query, expected[0])) < 0.99 and np.linalg.norm(query) == pytest.approx(1, abs=1e-5)
    index = VectorStoreIndex.from_documents([Document(text=text) for text in TEXTS], embed_model=embedding)
    nodes = index.as_retriever(similarity_top_k=2).retrieve(TEXTS[0])
    scores = sorted((float(np.dot(query, vector)) for vector in expected), reverse=True)
    assert [node.score for node in nodes] == pytest.approx(scores, abs=1e-4)
