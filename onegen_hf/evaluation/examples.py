"""Reads rows of the `examples` config for evaluation and checks them against the index before any work is done."""

from __future__ import annotations

import json
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerBase

from ..checks import shown
from ..configuration import OneGenConfig
from ..data.chat_rendering import split_assistant
from ..data.messages import Message
from ..data.prompts import messages_ids, prompt_ids
from ..pipelines.rag import last_question

_NAMED = 3


@dataclass(frozen=True)
class EvaluationExample:
    """
    One example.

    Attributes:
        id (`str`)
        question (`str`)
        messages (`tuple[Mapping]`): Empty if the example is only a question.
        answers (`tuple[str]`): If empty, the answer is not scored.
        positives (`tuple[tuple[str]]`): Ids of documents for each query token, in order. A reference to a sentence
            (`doc#3`) counts as a reference to its document, because retrieval returns documents.
        meta (`Mapping[str, Any]`)
    """

    id: str
    question: str
    messages: tuple[Message, ...]
    answers: tuple[str, ...]
    positives: tuple[tuple[str, ...], ...]
    meta: Mapping[str, Any]

    @property
    def group(self) -> str | None:
        """The type of question: `meta.type`, else `meta.task`."""
        return self.meta.get("type") or self.meta.get("task")

    @property
    def asked(self) -> str:
        """The text that asks: the question, else the last turn of the user."""
        return self.question or last_question(self.messages)

    def num_queries(self, config: OneGenConfig) -> int:
        """Number of query tokens in the assistant's turns."""
        turns = [message["content"] for message in self.messages if message["role"] == "assistant"]
        return sum(kind == "query" for turn in turns for kind, _ in split_assistant(turn, config))

    def prompt_ids(self, tokenizer: PreTrainedTokenizerBase, config: OneGenConfig) -> list[int]:
        """
        The token ids before the assistant's answer: of the conversation so far, or of the question alone.

        Raises:
            `ValueError`: If there is no question, or more than one turn to answer.
        """
        roles = [message["role"] for message in self.messages]
        if roles.count("assistant") > 1:
            raise ValueError(
                f"example {self.id!r} has {roles.count('assistant')} assistant turns, and the answers could belong to "
                "any: make one example of each turn"
            )
        before = self.messages[: roles.index("assistant")] if "assistant" in roles else self.messages
        if before:
            return messages_ids(tokenizer, config, before)
        if not self.question.strip():
            raise ValueError(f"example {self.id!r} has neither messages nor a question: drop it")
        return prompt_ids(tokenizer, config, self.question)


def read_examples(
    rows: Iterable[Mapping[str, Any]], index_ids: Iterable[str], index_name: str = "index"
) -> list[EvaluationExample]:
    """
    Read the examples and check that all their positives are in the index.

    Args:
        rows (`Iterable[Mapping]`): Rows of the `examples` config.
        index_ids (`Iterable[str]`): Ids of all searchable passages.
        index_name (`str`, *optional*, defaults to `"index"`): Name of the index in the error message.

    Raises:
        `ValueError`: If there is no example, one is malformed, or a positive is not among the passages.
    """
    if isinstance(rows, (str, Mapping)) or not isinstance(rows, Iterable):
        raise TypeError(f"examples={shown(rows)} must be rows of the `examples` config, got {type(rows).__name__}")
    rows = list(rows)
    for number, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise TypeError(f"examples: row {number} is {shown(row)}, a {type(row).__name__}: give a mapping")
    if not rows:
        raise ValueError("examples is empty: choose another split, or a limit of at least 1")
    references = {reference for row in rows for hop in row.get("positives") or () for reference in hop}
    known = _among({*references, *(reference.rpartition("#")[0] for reference in references)}, index_ids)
    missing: list[str] = []
    examples = [_read(row, number, known, missing) for number, row in enumerate(rows)]
    if missing:
        raise ValueError(
            f"{len(missing)} positives are not in the {index_name}: {', '.join(missing[:_NAMED])}"
            f"{', ...' if len(missing) > _NAMED else ''}. Build the index of the documents that go with the examples."
        )
    return examples


def _among(references: set[str], index_ids: Iterable[str]) -> set[str]:
    """The references that are in the index. An index may have millions of ids, so only these are kept."""
    return {identifier for identifier in index_ids if identifier in references}


def _read(row: Mapping[str, Any], number: int, known: Container[str], missing: list[str]) -> EvaluationExample:
    identifier = str(number) if row.get("id") is None else str(row["id"])
    positives: list[tuple[str, ...]] = []
    for hop, references in enumerate(row.get("positives") or ()):
        documents = [_document(reference, known) for reference in references]
        missing += [
            f"{reference!r} (example {identifier!r}, query token {hop})"
            for reference, document in zip(references, documents, strict=True)
            if document is None
        ]
        positives.append(tuple(dict.fromkeys(document for document in documents if document is not None)))
    return EvaluationExample(
        identifier,
        str(row.get("question") or ""),
        tuple(row.get("messages") or ()),
        _answers(row.get("answers"), identifier),
        tuple(positives),
        _meta(row.get("meta"), identifier),
    )


def _document(reference: str, known: Container[str]) -> str | None:
    if reference in known:
        return reference
    document, mark, sentence = reference.rpartition("#")
    return document if mark and sentence.isdigit() and document in known else None


def _answers(answers: Sequence[str] | None, identifier: str) -> tuple[str, ...]:
    if isinstance(answers, str):
        raise ValueError(f"example {identifier!r}: answers is the text {answers!r}; give a list of acceptable answers")
    return tuple(answers or ())


def _meta(meta: Any, identifier: str) -> Mapping[str, Any]:
    try:
        parsed = json.loads(meta or "null") if isinstance(meta, str) else meta
    except ValueError as error:
        raise ValueError(f"example {identifier!r}: meta is no JSON ({error}): mend it, or leave it empty") from error
    if parsed is not None and not isinstance(parsed, Mapping):
        raise ValueError(f"example {identifier!r}: meta is {parsed!r}; give a JSON object, or leave it empty")
    return parsed or {}
