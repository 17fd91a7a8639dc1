"""Haystack: components that retrieve, answer and embed. They load their model in `warm_up`, and serialize its name."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..checks import integer
from ..importing.extras import require
from ..sentence_transformer import as_sentence_transformer
from .searching import metadata_of

require("haystack", extra="haystack", purpose="onegen_hf.integrations.haystack")

from haystack import Document, component, default_from_dict, default_to_dict  # noqa: E402
from haystack.dataclasses import GeneratedAnswer  # noqa: E402


class _OfCheckpoint:
    """
    What all components share: they are made of a checkpoint.

    Args:
        model (`str`, *optional*): A directory or Hub repository; by default the bundled model.
    """

    def __init__(self, model: str | None = None) -> None:
        self.model = model
        self._loaded: Any = None

    def warm_up(self) -> None:
        """Load the model, once."""
        if self._loaded is None:
            self._loaded = self._load()

    def _load(self) -> Any:
        raise NotImplementedError

    def _ready(self) -> Any:
        self.warm_up()
        return self._loaded

    def to_dict(self) -> dict[str, Any]:
        """The arguments, for a pipeline that is saved."""
        arguments = {name: value for name, value in vars(self).items() if not name.startswith("_")}
        return dict(default_to_dict(self, **arguments))

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Any:
        """The component that was saved."""
        return default_from_dict(cls, data)


class _WithPipeline(_OfCheckpoint):
    """
    Args:
        model (`str`, *optional*)
        index (`str`, *optional*): A directory or Hub repository; by default the model's own.
        top_k (`int`, *optional*): Passages per retrieval.
    """

    def __init__(self, model: str | None = None, index: str | None = None, top_k: int = 1) -> None:
        super().__init__(model)
        self.index = index
        self.top_k = integer(least=1)("top_k", top_k)

    def _load(self) -> Any:
        from transformers import pipeline

        return pipeline("onegen-rag", model=self.model, index=self.index)


@component
class OneGenRetriever(_WithPipeline):
    """
    Finds the passages for a query. The model writes what it asks for first.

    Args:
        model (`str`, *optional*): A directory or Hub repository; by default the bundled model.
        index (`str`, *optional*): By default the model's own.
        top_k (`int`, *optional*, defaults to 4)
    """

    def __init__(self, model: str | None = None, index: str | None = None, top_k: int = 4) -> None:
        _WithPipeline.__init__(self, model, index, top_k)  # `component` makes another class of this one

    @component.output_types(documents=list[Document])
    def run(self, query: str, top_k: int | None = None) -> dict[str, Any]:
        """
        Returns:
            `dict`: `documents`, best first.
        """
        passages = self._ready().retrieve(query, self.top_k if top_k is None else top_k)
        return {"documents": [_document(passage) for passage in passages]}


@component
class OneGenAnswerer(_WithPipeline):
    """
    Answers a question in one pass.

    Args:
        model (`str`, *optional*): A directory or Hub repository; by default the bundled model.
        index (`str`, *optional*): By default the model's own.
        top_k (`int`, *optional*, defaults to 1): Passages per hop.
        max_hops (`int`, *optional*, defaults to 5)
        max_new_tokens (`int`, *optional*, defaults to 256)
    """

    def __init__(
        self,
        model: str | None = None,
        index: str | None = None,
        top_k: int = 1,
        max_hops: int = 5,
        max_new_tokens: int = 256,
    ) -> None:
        _WithPipeline.__init__(self, model, index, top_k)
        self.max_hops = max_hops
        self.max_new_tokens = max_new_tokens

    @component.output_types(answers=list[GeneratedAnswer])
    def run(self, query: str) -> dict[str, Any]:
        """
        Returns:
            `dict`: `answers`, with one answer, or none where the model gave none; the passages are its `documents`,
            and `confidence`, `citations` and `usage` its `meta`.
        """
        result = self._ready()(query, k=self.top_k, max_hops=self.max_hops, max_new_tokens=self.max_new_tokens)
        if not result.answered:
            return {"answers": []}
        documents = [_document(passage) for retrieval in result.retrievals for passage in retrieval.passages]
        meta = {name: result[name] for name in ("confidence", "citations", "usage")}
        return {"answers": [GeneratedAnswer(result.answer, query, documents, meta)]}


class _Embedder(_OfCheckpoint):
    def _load(self) -> Any:
        from transformers import pipeline

        if self.model is not None:
            return as_sentence_transformer(self.model)
        rag = pipeline("onegen-rag")
        return as_sentence_transformer(rag.model, rag.tokenizer)


@component
class OneGenTextEmbedder(_Embedder):
    """
    Embeds queries.

    Args:
        model (`str`, *optional*): A directory or Hub repository; by default the bundled model.
    """

    @component.output_types(embedding=list[float])
    def run(self, text: str) -> dict[str, Any]:
        """
        Returns:
            `dict`: `embedding`, a unit vector.
        """
        return {"embedding": self._ready().encode_query(text).tolist()}


@component
class OneGenDocumentEmbedder(_Embedder):
    """
    Embeds documents, with the titles in their `meta`.

    Args:
        model (`str`, *optional*): A directory or Hub repository; by default the bundled model.
    """

    @component.output_types(documents=list[Document])
    def run(self, documents: list[Document]) -> dict[str, Any]:
        """
        Returns:
            `dict`: `documents`, which now have an `embedding`, a unit vector.
        """
        if not documents:
            return {"documents": []}
        texts = [
            {"title": str(document.meta.get("title", "")), "text": document.content or ""} for document in documents
        ]
        vectors = self._ready().encode_document(texts).tolist()
        return {"documents": [replace(d, embedding=v) for d, v in zip(documents, vectors, strict=True)]}


def _document(passage: Any) -> Document:
    meta = metadata_of(passage)
    return Document(id=meta.pop("id"), content=passage.text, score=meta.pop("score"), meta=meta)
