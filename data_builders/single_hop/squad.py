"""SQuAD and its relatives: a question, one passage, an answer that stands in it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from os import PathLike
from typing import Any, ClassVar, NamedTuple
from urllib.parse import unquote

from data_builders.converter import Converter
from data_builders.documents import Document, DocumentStore
from data_builders.errors import Dropped, ErrorPolicy, RecordError
from data_builders.records import Located
from data_builders.rendering import Hop, render_answer
from data_builders.single_hop.passages import find_passage, keep_passage
from data_builders.single_hop.sentences import sentence_at, split_sentences
from data_builders.single_hop.squad_file import read_questions
from data_builders.text_fields import optional_text_field, text_field


class Answer(NamedTuple):
    """An answer and where it begins in the context, if that is known."""

    text: str
    start: int | None


@dataclass
class SquadConverter(Converter):
    """
    Converts SQuAD 1.1 and 2.0 (arXiv 1606.05250, 1806.03822) in three layouts: the official nested JSON, the Hub's
    flat columns, and questions with `passage_id` beside a corpus file.

    - An example reads `question[RQ]<paragraph>title` newline `context</paragraph> answer`, as a multi-hop example with
      one hop; the answer is the first one, `answers` has all.
    - Contexts become documents, each once, cut into sentences; `_` in a title is a space and `%C3%A9` a letter.
    - `meta` has `answer_sentence`: the number of the sentence in the document where the answer begins, `None` if it
      is not in the text as it is written.
    - A question marked as impossible, or with an empty list of answers, is dropped as `unanswerable`.
    - The record offers no hard negatives; mine them (`data_builders.hard_negatives`).

    Args:
        query_token (`str`, *optional*, defaults to `"[RQ]"`):
            The token that asks for a retrieval.
        num_negatives (`int`, *optional*, defaults to 5):
            Not used: the records offer no negatives.
        write_query (`bool`, *optional*, defaults to `True`):
            Write the question again in front of the query token. Without it an example reads `[RQ]<paragraph>title`
            newline `context</paragraph>` newline `Answer: answer`: the state right after the question is the query.
        retrieval_only (`bool`, *optional*, defaults to `False`):
            Make pairs of a question and its passage: nothing follows the query token, and no answers are needed.
        id_prefix (`str`, *optional*, defaults to `""`):
            Stands in front of the ids of all passages, so that several corpora can be trained on together.
    """

    write_query: bool = True
    retrieval_only: bool = False
    id_prefix: str = ""

    name: ClassVar[str] = "squad"
    title: ClassVar[str] = "SQuAD-style questions for OneGen"

    def rows(self, path: str | PathLike[str], policy: ErrorPolicy) -> Iterator[Located]:
        """Stream the questions of one file, see [`read_questions`]."""
        return read_questions(path, policy)

    def add_documents(self, record: Mapping[str, Any], store: DocumentStore) -> None:
        """Put the context of a question into `store`, see [`~Converter.add_documents`]."""
        if record.get("passage_id") is None:
            keep_passage(store, _title(record), _sentences(text_field(record, "context")))

    def add_corpus_record(self, record: Mapping[str, Any], store: DocumentStore) -> None:
        """Put a corpus record `{id, title, text}` into `store`, cut into sentences unless it has `sentences`."""
        fields = {**record, "title": _title(record)}
        if "sentences" not in record:
            fields["sentences"] = _sentences(text_field(record, "text" if "text" in record else "context"))
        if record.get("id") is None:
            keep_passage(store, fields["title"], fields["sentences"])
        else:
            store.add_record(fields)

    def example(self, record: Mapping[str, Any], store: DocumentStore, default_id: str) -> dict[str, Any]:
        """Turn one question into an example, see [`~Converter.example`]."""
        question = text_field(record, "question").strip()
        answers = [] if self.retrieval_only else read_answers(record)
        passage = self._passage(record, store)
        if not answers and not self.retrieval_only:
            raise Dropped("unanswerable")
        meta = {}
        if answers:
            meta["answer_sentence"] = answer_sentence(passage, record.get("context"), answers[0])
        own_id = record.get("id", record.get("qid"))
        return {
            "id": str(default_id if own_id is None else own_id),
            "messages": [
                {"role": "user", "content": question},
                {"role": "assistant", "content": self._turn(question, answers, passage)},
            ],
            "positives": [[passage.id]],
            "negatives": [[]],
            "question": question,
            "answers": list(dict.fromkeys(answer.text for answer in answers)),
            "meta": json.dumps(meta, sort_keys=True),
        }

    def _turn(self, question: str, answers: list[Answer], passage: Document) -> str:
        if not answers:
            return (question if self.write_query else "") + self.query_token
        answer = answers[0].text
        # With a question that is not repeated, neither is the answer.
        hop = Hop(question, answer if self.write_query else None, passage.title)
        return render_answer([hop], [passage], None, answer, self.query_token, self.write_query)

    def _passage(self, record: Mapping[str, Any], store: DocumentStore) -> Document:
        passage_id = record.get("passage_id")
        if passage_id is None:
            return find_passage(store, _title(record), _sentences(text_field(record, "context")))
        passage_id = store.prefixed(passage_id)
        if passage_id not in store:
            raise RecordError(
                "unknown_passage",
                f"`passage_id` {record['passage_id']!r} is not in the corpus; give its file as documents.",
            )
        return store[passage_id]


def read_answers(record: Mapping[str, Any]) -> list[Answer]:
    """
    Read the answers of a question: `[{"text", "answer_start"}]`, `{"text": [...], "answer_start": [...]}`, texts or
    one text.

    Args:
        record (`Mapping[str, Any]`):
            The question.

    Returns:
        `list[Answer]`: Those with a text; none for a question that has no answer.

    Raises:
        `RecordError`: If they are missing or malformed.
    """
    if record.get("is_impossible") is True:
        return []
    value = record.get("answers", record.get("answer"))
    if value is None:
        raise RecordError("missing_field", "the field `answers` is missing; add it, an empty list for no answer.")
    if isinstance(value, Mapping):
        texts, starts = value.get("text"), value.get("answer_start")
        if not isinstance(texts, list) or (starts is not None and (not isinstance(starts, list))):
            raise RecordError("malformed_field", "`answers` needs the lists `text` and `answer_start`.")
        if starts is not None and len(starts) != len(texts):
            raise RecordError("malformed_field", "`answers.text` and `answers.answer_start` must be of one length.")
        pairs = list(zip(texts, starts or [None] * len(texts), strict=True))
    else:
        items = value if isinstance(value, list) else [value]
        pairs = [
            (item.get("text"), item.get("answer_start")) if isinstance(item, Mapping) else (item, None)
            for item in items
        ]
    if not all(isinstance(text, str) for text, _ in pairs):
        raise RecordError("malformed_field", "every answer must be text, or an object with `text`.")
    return [
        Answer(text.strip(), start if isinstance(start, int) and start >= 0 else None)
        for text, start in pairs
        if text.strip()
    ]


def answer_sentence(passage: Document, context: str | None, answer: Answer) -> int | None:
    """
    Find the sentence of a document where an answer begins.

    Args:
        passage (`Document`):
            The document.
        context (`str`, *optional*):
            The text that `answer.start` counts in.
        answer (`Answer`):
            The answer.

    Returns:
        `int`, *optional*: The number of the sentence; without a (true) start, of the first that holds the answer.
    """
    if context is not None and answer.start is not None and context.startswith(answer.text, answer.start):
        spans = split_sentences(context)
        if tuple(span.text for span in spans) == passage.sentences:
            return sentence_at(spans, answer.start)
    return next((number for number, text in enumerate(passage.sentences) if answer.text in text), None)


def _sentences(text: str) -> list[str]:
    return [span.text for span in split_sentences(text)]


def _title(record: Mapping[str, Any]) -> str:
    title = optional_text_field(record, "title")
    # Titles of the first files are names of Wikipedia pages, as in an address.
    return title if " " in title else unquote(title).replace("_", " ")
