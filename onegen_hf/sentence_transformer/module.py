"""`OneGenModule`: the one module of a `SentenceTransformer` made of a OneGen model."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from sentence_transformers.base.modules import InputModule
from transformers import PreTrainedTokenizerBase

from ..data.padding import pad_ids, pad_positions
from ..data.passages import Passage, PassageEncoder
from ..data.prompts import query_ids
from ..modeling.auto import OneGenForCausalLM
from ..modeling.embed import check_encoder
from ..modeling.positions import context_length
from ..modeling.projection import embedding_size
from ..modeling.tokenizers import load_tokenizer
from ..similarity import normalize

logger = logging.getLogger(__name__)


class OneGenModule(InputModule):
    """
    Texts → token ids → embeddings at the query or the document token; see [`as_sentence_transformer`].

    Args:
        model (`OneGenForCausalLM`)
        tokenizer (`PreTrainedTokenizerBase`)
        query_template (`str`, *optional*, defaults to `"{query}"`)
        max_query_length (`int`, *optional*, defaults to 256)
    """

    # Not the default "config.json": that is the language model's.
    config_file_name: str = "onegen_sentence_transformer.json"
    config_keys: ClassVar[list[str]] = ["query_template", "max_query_length"]

    def __init__(
        self,
        model: Any,
        tokenizer: PreTrainedTokenizerBase,
        query_template: str = "{query}",
        max_query_length: int = 256,
    ) -> None:
        super().__init__()
        check_encoder(model, tokenizer)
        if "{query}" not in query_template:
            raise ValueError(f"query_template={query_template!r} must contain {{query}}")
        if max_query_length < 1:
            raise ValueError(f"max_query_length={max_query_length} must be at least 1 token")
        self.model = model
        self.tokenizer = tokenizer
        self.query_template = query_template
        self.max_query_length = max_query_length
        self.passages = PassageEncoder(tokenizer, model.onegen_config)
        self._warned = False

    def preprocess(
        self,
        inputs: Sequence[Any],
        prompt: str | None = None,
        task: str | None = None,
        **kwargs: Any,
    ) -> dict[str, torch.Tensor]:
        """
        Token ids of a batch.

        Args:
            inputs (`Sequence[str | Mapping | Passage]`): Texts; documents may be mappings with `title` and `text`.
            prompt (`str`, *optional*): Put in front of every text (of a document: of its text, not its title).
            task (`str`, *optional*): `"query"`, or anything else for documents.

        Returns:
            `dict[str, Tensor]`: `input_ids` and `attention_mask` of shape `(batch, length)`, right-padded, and
            `retrieval_positions` of shape `(batch, 1)`.

        Raises:
            `ValueError`: If a row is longer than the model's context, or an input is no text.
        """
        prefix = prompt or ""
        encode = self._query_ids if task == "query" else self._document_ids
        rows = [encode(item, prefix) for item in inputs]
        limit = context_length(self.model)
        longest = max(map(len, rows))
        if limit is not None and longest > limit:
            raise ValueError(
                f"a text takes {longest} tokens, more than the model's context of {limit}: lower max_query_length "
                f"(now {self.max_query_length}), or max_embedded_tokens in OneGenConfig"
            )
        input_ids, attention_mask = pad_ids(rows, self.tokenizer.pad_token_id)
        return {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "retrieval_positions": pad_positions([[len(row) - 1] for row in rows]),
        }

    def forward(self, features: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """
        Add `sentence_embedding` of shape `(batch, dim)`, float32, of unit length.

        Args:
            features (`dict[str, Tensor]`): From [`~OneGenModule.preprocess`].
        """
        hidden = self.model.embed(
            features["input_ids"], features["attention_mask"], features["retrieval_positions"]
        ).squeeze(1)
        return {**features, "sentence_embedding": normalize(hidden)}

    def get_embedding_dimension(self) -> int:
        """Numbers in an embedding."""
        return embedding_size(self.model)

    def save(self, output_path: str, *args: Any, safe_serialization: bool = True, **kwargs: Any) -> None:
        """Save the model as a plain OneGen checkpoint, its tokenizer and these settings."""
        self.model.save_pretrained(output_path)
        self.tokenizer.save_pretrained(output_path)
        self.save_config(output_path)

    @classmethod
    def load(
        cls, model_name_or_path: str, subfolder: str = "", model_kwargs: Any = None, **kwargs: Any
    ) -> OneGenModule:
        """Called by `SentenceTransformer`; `model_kwargs` are those of [`~OneGenForCausalLM.from_pretrained`]."""
        places = ("token", "revision", "local_files_only")
        hub = {name: kwargs[name] for name in places if kwargs.get(name) is not None}
        settings = cls.load_config(model_name_or_path, subfolder, cache_folder=kwargs.get("cache_folder"), **hub)
        hub = {**hub, "cache_dir": kwargs.get("cache_folder")}
        model = OneGenForCausalLM.from_pretrained(model_name_or_path, **{**hub, **(model_kwargs or {})})
        tokenizer = load_tokenizer(model_name_or_path, **{**hub, **(kwargs.get("processor_kwargs") or {})})
        return cls(model, tokenizer, **settings)

    def _query_ids(self, query: Any, prefix: str) -> list[int]:
        if not isinstance(query, str):
            raise ValueError(f"a query must be a text, got {query!r}")
        return query_ids(self.tokenizer, self.model.onegen_config, self._cut(prefix + query), self.query_template)

    def _cut(self, query: str) -> str:
        ids = self.passages.text_ids(query)
        if len(ids) <= self.max_query_length:
            return query
        if not self._warned:
            logger.warning(
                "A query has %d tokens and is cut to max_query_length=%d. Further ones are cut silently.",
                len(ids),
                self.max_query_length,
            )
            self._warned = True
        return str(self.tokenizer.decode(ids[: self.max_query_length]))

    def _document_ids(self, document: Any, prefix: str) -> list[int]:
        if not isinstance(document, (str, Mapping, Passage)):
            raise ValueError(f"a document must be a text or a mapping with `title` and `text`, got {document!r}")
        # An empty text is an ordinary document of BEIR's corpora, unlike one of an index.
        passage = Passage("", "", document) if isinstance(document, str) else Passage.from_record(document, 0)
        row = self.passages.row(Passage(passage.id, passage.title, prefix + passage.text))
        return row.input_ids
