"""LlamaIndex: `OneGenRetriever` and `OneGenEmbedding`."""

from __future__ import annotations

from typing import Any

from pydantic import PrivateAttr
from transformers import PreTrainedTokenizerBase

from ..checks import integer
from ..importing.extras import require
from ..sentence_transformer import as_sentence_transformer
from .searching import check_searcher, metadata_of, passages_for

require("llama_index.core", extra="llama-index", purpose="onegen_hf.integrations.llama_index")

from llama_index.core.base.embeddings.base import BaseEmbedding  # noqa: E402
from llama_index.core.retrievers import BaseRetriever  # noqa: E402
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode  # noqa: E402


class OneGenRetriever(BaseRetriever):
    """
    Finds passages.

    Args:
        searcher ([`PassageIndex`] or [`OneGenRagPipeline`]): See [`~onegen_hf.integrations.searching.passages_for`].
        similarity_top_k (`int`, *optional*, defaults to 2): Passages per query.
        kwargs: As for LlamaIndex's `BaseRetriever`.

    Example:

    ```python
    >>> retriever = OneGenRetriever(pipeline("onegen-rag"), similarity_top_k=2)
    >>> retriever.retrieve("Where was the director of the film Metropolis born?")[0].metadata["title"]
    ```
    """

    def __init__(self, searcher: Any, similarity_top_k: int = 2, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.searcher = check_searcher(searcher)
        self.similarity_top_k = integer(least=1)("similarity_top_k", similarity_top_k)

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        passages = passages_for(self.searcher, query_bundle.query_str, self.similarity_top_k)
        return [
            NodeWithScore(node=TextNode(id_=p.id, text=p.text, metadata=metadata_of(p)), score=p.score)
            for p in passages
        ]


class OneGenEmbedding(BaseEmbedding):
    """
    Embeds queries and texts, each in its way, as unit vectors of float32.

    Args:
        model (`OneGenForCausalLM`, `str` or path)
        tokenizer (`PreTrainedTokenizerBase`, *optional*): By default that of the checkpoint.
        kwargs: As for LlamaIndex's `BaseEmbedding`, such as `embed_batch_size`.
    """

    _encoder: Any = PrivateAttr()

    def __init__(self, model: Any, tokenizer: PreTrainedTokenizerBase | None = None, **kwargs: Any) -> None:
        super().__init__(**{"model_name": model if isinstance(model, str) else "onegen", **kwargs})
        self._encoder = as_sentence_transformer(model, tokenizer)

    @classmethod
    def class_name(cls) -> str:
        """As LlamaIndex writes it down."""
        return "OneGenEmbedding"

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return self._encoder.encode_document(texts, batch_size=len(texts)).tolist()  # type: ignore[no-any-return]

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_text_embeddings([text])[0]

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._encoder.encode_query(query).tolist()  # type: ignore[no-any-return]

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_query_embedding(query)
