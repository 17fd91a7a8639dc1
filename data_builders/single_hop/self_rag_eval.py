"""Self-RAG's evaluation files (PopQA, TriviaQA, PubHealth, ARC-Challenge, ASQA) with their passages."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from data_builders.answer_matching import holds_answer
from data_builders.converter import Converter
from data_builders.documents import Document, DocumentStore
from data_builders.errors import RecordError
from data_builders.single_hop.passages import as_paragraph, find_passage, keep_passage, refuse_reserved
from data_builders.single_hop.reflection import RETRIEVAL
from data_builders.single_hop.self_rag_tasks import (
    METRICS,
    detect_task,
    read_answers,
    read_choices,
    read_official_prompt,
    read_prompt,
    read_qa_pairs,
)
from data_builders.text_fields import optional_text_field

_CONTEXT_FIELDS = ("ctxs", "contexts", "top_contexts", "docs")


class Context(NamedTuple):
    """A passage that was retrieved for a question; `has_answer` as the file says it, if it does."""

    title: str
    text: str
    has_answer: bool | None


@dataclass
class SelfRagEvalConverter(Converter):
    """
    Converts records with `question` or `instruction`, `answers` (or `answerKey`, `possible_answers`, `output`),
    `choices` and `ctxs: [{title, text, hasanswer}]`. Every record becomes an example.

    - The passages become documents.
    - The positives of the one query token are the passages that hold an answer: those that the file says do
      (`hasanswer`), else those with the words of an answer in a row ([`holds_answer`]); for ARC of the right choice's
      text. A verdict is no text to look for, so PubHealth has positives only where the file names them.
    - The negatives are the first passages that hold none, as long as no answer is a verdict.
    - The assistant's message is `[Retrieval][RQ]<paragraph>first positive</paragraph>answer`, as in training on
      Self-RAG's data; without a positive the paragraph is empty, as when a search finds nothing.
    - `question` is the user's message, with instruction and choices, so that whoever asks it asks all of it. `meta`
      has the bare `question`, `task`, `metric` (`"match"`, `"accuracy"` or `"str_em"`), for ARC `choices`, for
      ASQA `qa_pairs`, and `contexts_without_text` where passages were left out for that.

    Args:
        task (`str`, *optional*, defaults to `"auto"`):
            `"popqa"`, `"triviaqa"`, `"pubhealth"`, `"arc_challenge"`, `"asqa"`, or `"auto"`: by the fields of each
            record.
        instruction (`str`, *optional*):
            Stands before the question instead of the task's own instruction; a record's `instruction` comes first.
        official (`bool`, *optional*, defaults to `False`):
            Write the user's message as Self-RAG's evaluation scripts do, with their instructions. Not with
            `instruction`.
        retrieval_token (`str`, *optional*, defaults to `"[Retrieval]"`):
            Stands before the query token. Empty for a model that was not trained on Self-RAG's data.

    Raises:
        `ValueError`: If `task` is something else.
    """

    task: str = "auto"
    instruction: str | None = None
    official: bool = False
    retrieval_token: str = RETRIEVAL

    name: ClassVar[str] = "self-rag-eval"
    title: ClassVar[str] = "Self-RAG evaluation data for OneGen"
    counted_meta: ClassVar[tuple[str, ...]] = ("task",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.task not in ("auto", *METRICS):
            raise ValueError(f'`task` must be "auto" or one of {sorted(METRICS)}, got {self.task!r}.')
        if self.official and self.instruction is not None:
            raise ValueError(
                f"`instruction`={self.instruction!r} can't take the place of the official ones: leave it out."
            )

    def add_documents(self, record: Mapping[str, Any], store: DocumentStore) -> None:
        """Put the passages of a record into `store`, see [`~Converter.add_documents`]."""
        for context in read_contexts(record):
            keep_passage(store, context.title, [context.text])

    def example(self, record: Mapping[str, Any], store: DocumentStore, default_id: str) -> dict[str, Any]:
        """Turn one record into an example, see [`~Converter.example`]."""
        task = detect_task(record) if self.task == "auto" else self.task
        answers, choices = read_answers(record, task), read_choices(record)
        if self.official:
            question, prompt = read_official_prompt(record, task)
        else:
            question, prompt = read_prompt(record, task, self.instruction)
        sought = [] if task == "pubhealth" else answers
        if task == "arc_challenge":
            sought = [choice.text for choice in choices if choice.label in answers]
        holding, others = list[Document](), list[Document]()
        contexts = read_contexts(record)
        for context in contexts:
            held = context.has_answer
            if held is None:
                held = holds_answer(f"{context.title}\n{context.text}", sought)
            (holding if held else others).append(find_passage(store, context.title, [context.text]))
        positives = list(dict.fromkeys(passage.id for passage in holding))
        # A passage on a true or false statement may well be evidence, whatever words it has.
        negatives = [] if task == "pubhealth" else [passage.id for passage in others if passage.id not in positives]
        answer = answers[0]
        refuse_reserved(f"{prompt}\n{answer}", [self.query_token])
        paragraph = as_paragraph(holding[0] if holding else None, [self.query_token])
        meta: dict[str, Any] = {"task": task, "metric": METRICS[task], "question": question}
        if empty := len(_raw_contexts(record)) - len(contexts):
            meta["contexts_without_text"] = empty
        if task == "asqa":
            meta["qa_pairs"] = read_qa_pairs(record)
        if choices:
            meta["choices"] = {choice.label: choice.text for choice in choices}
        return {
            "id": _identifier(record, default_id),
            "messages": [
                {"role": "user", "content": prompt},
                {"role": "assistant", "content": f"{self.retrieval_token}{self.query_token}{paragraph}{answer}"},
            ],
            "positives": [positives],
            "negatives": [list(dict.fromkeys(negatives))[: max(self.num_negatives, 0)]],
            "question": prompt,
            "answers": answers,
            "meta": json.dumps(meta, ensure_ascii=False, sort_keys=True),
        }


def read_contexts(record: Mapping[str, Any]) -> list[Context]:
    """
    Read the passages that were retrieved for a record; one without text tells nothing and is left out.

    Args:
        record (`Mapping[str, Any]`):
            A record with `ctxs`, or without passages.

    Returns:
        `list[Context]`: The passages, the best first.

    Raises:
        `RecordError`: If they are malformed.
    """
    contexts = []
    for item in _raw_contexts(record):
        flag = item.get("hasanswer", item.get("has_answer"))
        if text := optional_text_field(item, "text"):
            contexts.append(Context(optional_text_field(item, "title"), text, None if flag is None else bool(flag)))
    return contexts


def _identifier(record: Mapping[str, Any], default_id: str) -> str:
    for field in ("id", "q_id", "question_id", "claim_id"):
        if record.get(field) is not None:
            return str(record[field])
    return default_id


def _raw_contexts(record: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    field = next((name for name in _CONTEXT_FIELDS if record.get(name) is not None), None)
    if field is None:
        return []
    if not isinstance(record[field], list) or not all(isinstance(item, Mapping) for item in record[field]):
        raise RecordError("malformed_field", f"`{field}` must be a list of objects with `title` and `text`.")
    return record[field]
