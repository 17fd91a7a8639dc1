"""
LangChain: `OneGenRetriever` and `OneGenEmbeddings`. As a chat model, `ChatOpenAI` of `langchain-openai` speaks with
`onegen-hf serve`.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator
from transformers import PreTrainedTokenizerBase

from ..importing.extras import require
from ..sentence_transformer import as_sentence_transformer
from .searching import check_searcher, metadata_of, passages_for

require("langchain_core", extra="langchain", purpose="onegen_hf.integrations.langchain")

from langchain_core.documents import Document  # noqa: E402
from langchain_core.embeddings import Embeddings  # noqa: E402
from langchain_core.retrievers import BaseRetriever  # noqa: E402


class OneGenRetriever(BaseRetriever):
    """
    Finds passages.

    Args:
        searcher ([`PassageIndex`] or [`OneGenRagPipeline`]): See [`~onegen_hf.integrations.searching.passages_for`].
        k (`int`, *optional*, defaults to 4): Passages per query; `invoke(query, k=...)` goes before.

    Example:

    ```python
    >>> retriever = OneGenRetriever(searcher=pipeline("onegen-rag"), k=2)
    >>> retriever.invoke("Where was the director of the film Metropolis born?")[0].metadata["title"]
    ```
    """

    searcher: Any
    k: int = Field(default=4, ge=1)

    @field_validator("searcher")
    @classmethod
    def _can_search(cls, searcher: Any) -> Any:
        return check_searcher(searcher)

    def _get_relevant_documents(self, query: str, *, k: int | None = None, run_manager: Any = None) -> list[Document]:
        passages = passages_for(self.searcher, query, self.k if k is None else k)
        return [Document(id=p.id, page_content=p.text, metadata=metadata_of(p)) for p in passages]


class OneGenEmbeddings(Embeddings):
    """
    Embeds queries and documents, each in its way, as unit vectors of float32.

    Args:
        model (`OneGenForCausalLM`, `str` or path)
        tokenizer (`PreTrainedTokenizerBase`, *optional*): By default that of the checkpoint.
        batch_size (`int`, *optional*, defaults to 32)
    """

    def __init__(self, model: Any, tokenizer: PreTrainedTokenizerBase | None = None, batch_size: int = 32) -> None:
        self._encoder = as_sentence_transformer(model, tokenizer)
        self.batch_size = batch_size

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """One vector per text."""
        return self._encoder.encode_document(texts, batch_size=self.batch_size).tolist()  # type: ignore[no-any-return]

    def embed_query(self, text: str) -> list[float]:
        """The vector with which to search."""
        return self._encoder.encode_query(text).tolist()  # type: ignore[no-any-return]
