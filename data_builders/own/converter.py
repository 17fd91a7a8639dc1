"""`OwnConverter`: a folder of texts or a file of them, with questions and answers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar

from data_builders.answer_matching import holds_answer
from data_builders.columns import as_text, find_value, list_of_texts, required_value, sentences_of
from data_builders.converter import Converter
from data_builders.documents import Document, DocumentStore
from data_builders.errors import Dropped, ErrorPolicy, RecordError
from data_builders.own.chunking import chunk_text
from data_builders.records import DATA_SUFFIXES, TEXT_SUFFIXES, Located, data_suffix, read_records
from data_builders.rendering import Hop, render_answer


@dataclass
class OwnConverter(Converter):
    """
    Your own data.

    Documents (`--passages`) are a folder of `.txt` and `.md` files, titled by their names, or records with a text, in
    JSON, Parquet, CSV or a dataset on the Hub. A text that is too long for one passage becomes several, with the ids
    `ID/1`, `ID/2`, ...

    Examples (`--examples`) are records with a question, one or more answers, and the ids (or titles) of the passages
    that answer it. Of a document that became several passages, those that hold the answer are positives, or all of
    them. A question without passages asks for a retrieval that has no positive: it can be evaluated, but teaches
    nothing about retrieval.

    Columns are found by their usual names, see [`NAMES`], or named by the options.

    Args:
        query_token (`str`, *optional*, defaults to `"[RQ]"`):
            The token that asks for a retrieval.
        num_negatives (`int`, *optional*, defaults to 5):
            Unused, since the records hold no negatives. Mine them with `--negatives bm25`.
        max_chars (`int`, *optional*, defaults to 1000):
            The most characters of a passage.
        text_column (`str`, *optional*):
            The column with a document's text.
        title_column (`str`, *optional*):
            The column with its title.
        id_column (`str`, *optional*):
            The column with its id; without one the title, or else the place in the file, is the id.
        question_column (`str`, *optional*):
            The column with a question.
        answer_column (`str`, *optional*):
            The column with its answer or answers.
        passages_column (`str`, *optional*):
            The column with the id or ids of its passages.

        write_query (`bool`, *optional*, defaults to `True`):
            Write the question again in front of the query token. Without it the query is the state right after the
            question.
        id_prefix (`str`, *optional*, defaults to `""`):
            Stands in front of the ids of the passages, so that several corpora can be trained on together. Examples
            name a document without it.

    Raises:
        `ValueError`: If `max_chars` is not positive.
    """

    max_chars: int = 1000
    text_column: str | None = None
    title_column: str | None = None
    id_column: str | None = None
    question_column: str | None = None
    answer_column: str | None = None
    passages_column: str | None = None
    write_query: bool = True
    id_prefix: str = ""

    name: ClassVar[str] = "own"
    title: ClassVar[str] = "Documents, questions and answers for OneGen"
    counted_meta: ClassVar[tuple[str, ...]] = ("passages",)
    corpus_suffixes: ClassVar[tuple[str, ...]] = (*TEXT_SUFFIXES, *DATA_SUFFIXES)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_chars < 1:
            raise ValueError(f"`max_chars` must be at least 1, got {self.max_chars}.")
        self._passages: dict[str, list[str]] = {}

    def corpus_rows(self, path: str | PathLike[str], policy: ErrorPolicy) -> Iterator[Located]:
        """Stream the documents of one file: a text file is one."""
        path = Path(path)
        for located in read_records(path, policy):
            record = located.record
            if data_suffix(path) in TEXT_SUFFIXES:
                record = {self.title_column or "title": record["title"], self.text_column or "text": record["text"]}
            elif not self.id_column and not any(find_value(record, what, None) for what in ("id", "title")):
                record = {**record, "id": f"{path.stem}-{located.line}"}
            yield located._replace(record=record)

    def add_corpus_record(self, record: Mapping[str, Any], store: DocumentStore) -> None:
        """
        Put one document into `store`, as one passage or several.

        Raises:
            `RecordError`: If it has no text, or its id was used before.
            `Dropped`: If a text file is empty.
        """
        text, title = self._read_text(record), self._read_title(record)
        own_id = find_value(record, "id", self.id_column)
        base = title.replace("#", "%23") if own_id is None else as_text(own_id, "id")
        if not base:
            raise RecordError("missing_field", "the document has neither an id nor a title; add one.")
        if base in self._passages and own_id is not None:
            raise RecordError("duplicate_id", f"the id {base!r} was used before; ids must be unique.")
        if base in self._passages:
            base = next(name for number in count(2) if (name := f"{base} ({number})") not in self._passages)
        passages = chunk_text(text, self.max_chars)
        ids = [base] if len(passages) == 1 else [f"{base}/{number}" for number in range(1, len(passages) + 1)]
        stored = [
            store.put(Document(passage_id, title, (passage,))).id
            for passage_id, passage in zip(ids, passages, strict=True)
        ]
        self._passages[base] = stored
        # A question may name a document by its title too.
        self._passages.setdefault(title, stored)

    def _read_text(self, record: Mapping[str, Any]) -> str:
        text = find_value(record, "text", self.text_column)
        if text is None and self.text_column is None and record.get("sentences"):
            return " ".join(sentences_of(record["sentences"]))
        if isinstance(text, str) and not text.strip():
            raise Dropped("empty_text")
        return required_value(record, "text", self.text_column)

    def _read_title(self, record: Mapping[str, Any]) -> str:
        title = find_value(record, "title", self.title_column)
        return "" if title is None else as_text(title, "title").strip()

    def example(self, record: Mapping[str, Any], store: DocumentStore, default_id: str) -> dict[str, Any]:
        """
        Turn one question into one example.

        Raises:
            `RecordError`: If a field is missing or malformed, or names an unknown passage.
            `Dropped`: If there is no answer (`no_answer`).
        """
        question = required_value(record, "question", self.question_column)
        answers = list_of_texts(find_value(record, "answer", self.answer_column), "answer")
        if not answers:
            raise Dropped("no_answer")
        named = list_of_texts(find_value(record, "passages", self.passages_column), "ids of the passages")
        positives = list(dict.fromkeys(ref for name in named for ref in self._resolve(name, answers, store)))
        if positives:
            passage = store[positives[0]]
            content = render_answer(
                [Hop(question, None, passage.title)], [passage], None, answers[0], self.query_token, self.write_query
            )
        else:
            asked = question if self.write_query else ""
            content = f"{asked}{self.query_token}\nAnswer: {answers[0]}"
        own_id = find_value(record, "id", None) if self.passages_column != "id" else None
        return {
            "id": default_id if own_id is None or str(own_id) in named else str(own_id),
            "messages": [{"role": "user", "content": question}, {"role": "assistant", "content": content}],
            "positives": [positives],
            "negatives": [[]],
            "question": question,
            "answers": answers,
            "meta": json.dumps({"passages": "given" if positives else "none"}, sort_keys=True),
        }

    def _resolve(self, name: str, answers: list[str], store: DocumentStore) -> list[str]:
        if store.prefixed(name) in store:
            return [store.prefixed(name)]
        ids = self._passages.get(name)
        if ids is None:
            raise RecordError(
                "unknown_passage",
                f"no document has the id or title {name!r}; add it to `documents` or correct the id.",
            )
        return [passage_id for passage_id in ids if holds_answer(store[passage_id].text, answers)] or ids
