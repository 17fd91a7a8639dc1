"""Self-RAG's training file (arXiv 2310.11511, `selfrag/selfrag_train_data`) as examples that retrieve."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar

from data_builders.converter import Converter
from data_builders.documents import DocumentStore
from data_builders.errors import Dropped
from data_builders.single_hop.passages import as_paragraph, find_passage, keep_passage, refuse_reserved
from data_builders.single_hop.reflection import Segment, parse_output, plain_text, utility
from data_builders.text_fields import optional_text_field, text_field


@dataclass
class SelfRagConverter(Converter):
    """
    Converts records `{instruction, output, input, id, dataset_name}`.

    - The query token stands between `[Retrieval]` and the passage: `[Retrieval][RQ]<paragraph>…</paragraph>`, as the
      authors of OneGen have it. `[Retrieval]` stays, because its probability against `[No Retrieval]` is what Self-RAG
      decides by whether to retrieve, and because a retrieval token's own output is never a prediction.
    - All reflection tokens stay in the text and are generated (`RetrievalTokens.self_rag()`).
    - Passages become documents; the title is the first line.
    - A passage judged `[Relevant]`, or not judged, is the positive of its query token. One judged `[Irrelevant]` is
      its hard negative and the positives are empty: the judgement is learnt, the retrieval is not.
    - An output without passages gives a generation-only example without query token.
    - `answers` is the output without passages and reflection tokens; `meta` has `dataset_name`, `relevance` (one per
      query token) and `utility`.
    - A record with `[Retrieval]` but no passage behind it is dropped, see [`parse_output`].

    Args:
        query_token (`str`, *optional*, defaults to `"[RQ]"`):
            The token that asks for a retrieval.
        num_negatives (`int`, *optional*, defaults to 5):
            The most irrelevant passages kept as negatives of a query token; the file has one.
    """

    name: ClassVar[str] = "self-rag"
    title: ClassVar[str] = "Self-RAG training data for OneGen"

    def add_documents(self, record: Mapping[str, Any], store: DocumentStore) -> None:
        """Put the passages of `output` into `store`, see [`~Converter.add_documents`]."""
        # A record that `example` will drop needs no documents.
        with suppress(Dropped):
            for segment in parse_output(text_field(record, "output")):
                for evidence in segment.evidence:
                    if evidence.text:
                        keep_passage(store, evidence.title, [evidence.text])

    def example(self, record: Mapping[str, Any], store: DocumentStore, default_id: str) -> dict[str, Any]:
        """Turn one record into an example, see [`~Converter.example`]."""
        segments = parse_output(text_field(record, "output"))
        question = self._question(record)
        content, positives, negatives = segments[0].text, list[list[str]](), list[list[str]]()
        refuse_reserved(question + "".join(segment.text for segment in segments), [self.query_token])
        for segment in segments[1:]:
            paragraphs, ids = self._passages(segment, store)
            content += self.query_token + paragraphs + segment.text
            irrelevant = segment.relevance == "irrelevant"
            positives.append([] if irrelevant else ids)
            negatives.append(ids[: max(self.num_negatives, 0)] if irrelevant else [])
        meta = {
            "dataset_name": record.get("dataset_name"),
            "relevance": [segment.relevance for segment in segments[1:]],
            "utility": utility(segments),
        }
        answer = plain_text(segments)
        return {
            "id": str(default_id if record.get("id") is None else record["id"]),
            "messages": [{"role": "user", "content": question}, {"role": "assistant", "content": content}],
            "positives": positives,
            "negatives": negatives,
            "question": question,
            "answers": [answer] if answer else [],
            "meta": json.dumps(meta, ensure_ascii=False, sort_keys=True),
        }

    def _passages(self, segment: Segment, store: DocumentStore) -> tuple[str, list[str]]:
        found = [find_passage(store, title, [text]) if text else None for title, text in segment.evidence]
        paragraphs = "".join(as_paragraph(passage, [self.query_token]) for passage in found)
        return paragraphs, list(dict.fromkeys(passage.id for passage in found if passage is not None))

    def _question(self, record: Mapping[str, Any]) -> str:
        instruction = text_field(record, "instruction").strip()
        extra = optional_text_field(record, "input")
        return f"{instruction}\n\n### Input:\n{extra}" if extra else instruction
