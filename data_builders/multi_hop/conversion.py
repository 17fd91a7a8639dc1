"""One multi-hop question with its hops becomes one training example."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from data_builders.documents import Document, DocumentStore, read_context
from data_builders.errors import RecordError
from data_builders.multi_hop.comparison import compare, order_lines
from data_builders.multi_hop.decomposition import Decomposition, decompose
from data_builders.multi_hop.fields import match_title, read_answers, required_text, supporting_titles
from data_builders.multi_hop.llm import LlmDecomposer
from data_builders.multi_hop.musique import is_musique, read_paragraphs, read_steps
from data_builders.multi_hop.side_file import SideFile
from data_builders.rendering import render_answer
from data_builders.schema import DEFAULT_QUERY_TOKEN, validate_example

Neighbours = Callable[[str], Sequence[str]]


class ReadQuestion(NamedTuple):
    """
    A record, whatever its layout, with its passages looked up.

    Args:
        decomposition (`Decomposition`):
            The hops.
        passages (`list[Document]`):
            The passage of each hop.
        context (`list[str]`):
            The ids of all passages that the record offers, in its order.
        gold (`set[str]`):
            The ids of those that answer a part of the question.
    """

    decomposition: Decomposition
    passages: list[Document]
    context: list[str]
    gold: set[str]


def add_context(record: Mapping[str, Any], store: DocumentStore) -> None:
    """
    Put the passages that a record carries itself into `store`.

    Raises:
        `RecordError`: If they are malformed.
    """
    if is_musique(record):
        for paragraph in read_paragraphs(record):
            store.add(paragraph.title, [paragraph.text])
    else:
        for title, sentences in read_context(record):
            if sentences is not None:
                store.add(title, sentences)


def read_question(
    record: Mapping[str, Any],
    store: DocumentStore,
    *,
    question_id: str = "",
    side_file: SideFile | None = None,
    llm: LlmDecomposer | None = None,
) -> ReadQuestion:
    """
    Read hops and passages of a record in MuSiQue's or HotpotQA's layout.

    Args:
        record (`Mapping[str, Any]`):
            The record, decoded.
        store (`DocumentStore`):
            The documents, those of the record's context among them.
        question_id (`str`, *optional*, defaults to `""`):
            Its id in the side file.
        side_file (`SideFile`, *optional*):
            Decompositions by id.
        llm (`LlmDecomposer`, *optional*):
            Writes them.

    Returns:
        `ReadQuestion`: Hops and passages.

    Raises:
        `RecordError`: If a field is missing or malformed, or a title has no document.
    """
    if is_musique(record):
        paragraphs = read_paragraphs(record)
        ids = {p.number: store.find_id(p.title, [p.text]) for p in paragraphs}
        gold = {ids[paragraph.number] for paragraph in paragraphs if paragraph.is_supporting}
        steps = read_steps(record, paragraphs)
        if steps:
            passages = [store[ids[paragraph.number]] for _, paragraph in steps]
            found = Decomposition([hop for hop, _ in steps], "musique")
            return ReadQuestion(found, passages, list(ids.values()), gold | {passage.id for passage in passages})
        record = {
            **record,
            "context": [[paragraph.title, [paragraph.text]] for paragraph in paragraphs],
            "supporting_facts": [[paragraph.title, None] for paragraph in paragraphs if paragraph.is_supporting],
        }
    context = {title: store.find_id(title, sentences) for title, sentences in read_context(record)}

    def passage_of(title: str) -> Document:
        same = match_title(title, list(context))
        return store[context[same]] if same is not None else _find_gold(store, title)

    decomposition = decompose(
        record, lambda title: passage_of(title).text, question_id=question_id, side_file=side_file, llm=llm
    )
    passages = [passage_of(hop.title) for hop in decomposition.hops]
    gold = {passage.id for passage in passages}
    if record.get("supporting_facts"):
        # A supporting passage that no hop names still answers part of the question: it is no negative.
        gold.update(context[title] for title in supporting_titles(record) if title in context)
    return ReadQuestion(decomposition, passages, list(context.values()), gold)


def make_example(
    record: Mapping[str, Any],
    read: ReadQuestion,
    *,
    example_id: str,
    answers: Sequence[str],
    num_negatives: int = 5,
    query_token: str = DEFAULT_QUERY_TOKEN,
    neighbours: Neighbours | None = None,
    write_order: bool = False,
    write_query: bool = True,
    meta: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """
    Write a question as a record of the `examples` config.

    Args:
        record (`Mapping[str, Any]`):
            Its record; `question`, and optionally `type`, `template`, `level`.
        read (`ReadQuestion`):
            Its hops and passages.
        example_id (`str`):
            The id.
        answers (`Sequence[str]`):
            The answer, then its aliases.
        num_negatives (`int`, *optional*, defaults to 5):
            The most hard negatives per hop. They are the other passages of the context, in its order, rotated by the
            number of the hop.
        query_token (`str`, *optional*, defaults to `"[RQ]"`):
            The token that asks for a retrieval.
        neighbours (`Callable[[str], Sequence[str]]`, *optional*):
            Further hard negatives of a positive by its id, such as [`TitleNeighbours`]; those that are gold are left
            out.
        write_order (`bool`, *optional*, defaults to `False`):
            Write the lines of [`order_lines`] below a comparison.
        write_query (`bool`, *optional*, defaults to `True`):
            Write the sub-questions, see [`render_answer`].
        meta (`Mapping[str, Any]`, *optional*):
            What else goes into `meta`.

    Returns:
        `dict[str, Any]`: The example.

    Raises:
        `RecordError`: If a text holds a mark of the format.
    """
    question = required_text(record, "question")
    hops, passages = read.decomposition.hops, read.passages
    pool = list(dict.fromkeys(document_id for document_id in read.context if document_id not in read.gold))
    negatives = [_rotate(pool, number)[: max(num_negatives, 0)] for number in range(len(hops))]
    if neighbours is not None:
        for passage, own in zip(passages, negatives, strict=True):
            own += [other for other in neighbours(passage.id) if other not in read.gold and other not in own]
    comparison = compare(record.get("type"), [hop.answer for hop in hops], answers[0])
    order = order_lines(comparison, [p.title for p in passages], question, answers[0]) if write_order else []
    lines = None if comparison is None else "\n".join([comparison.line, *order])
    described = {"decomposition": read.decomposition.origin, "comparison": comparison is not None}
    described.update({key: record[key] for key in ("type", "template", "level") if isinstance(record.get(key), str)})
    return {
        "id": example_id,
        "messages": [
            {"role": "user", "content": question},
            {
                "role": "assistant",
                "content": render_answer(hops, passages, lines, answers[0], query_token, write_query),
            },
        ],
        "positives": [[passage.id] for passage in passages],
        "negatives": negatives,
        "question": question,
        "answers": list(answers),
        "meta": json.dumps({**described, **(meta or {})}, ensure_ascii=False, sort_keys=True),
    }


def record_to_example(
    record: Mapping[str, Any],
    store: DocumentStore,
    *,
    num_negatives: int = 5,
    query_token: str = DEFAULT_QUERY_TOKEN,
    write_order: bool = False,
    default_id: str = "",
) -> dict[str, Any]:
    """
    Turn one record into one valid example; see [`read_question`] and [`make_example`].

    Raises:
        `RecordError`: If a field is missing or malformed, or a title has no document.
        `Dropped`: If the question has no answer.
        `ValueError`: If a text of the record makes the example unusable.
    """
    question_id = record_id(record, default_id)
    example = make_example(
        record,
        read_question(record, store, question_id=question_id),
        example_id=question_id,
        answers=read_answers(record),
        num_negatives=num_negatives,
        query_token=query_token,
        write_order=write_order,
    )
    validate_example(example, store, query_token)
    return example


def record_id(record: Mapping[str, Any], default_id: str) -> str:
    """The id of a record, under the name that its data set has for it."""
    return str(record.get("id") or record.get("_id") or default_id)


def _find_gold(store: DocumentStore, title: str) -> Document:
    try:
        return store.find(title)
    except RecordError as error:
        raise RecordError(
            "unknown_gold_title" if error.reason == "unknown_title" else error.reason,
            f"the passage of a hop cannot be told: {error.message}",
        ) from error


def _rotate(pool: list[str], by: int) -> list[str]:
    start = by % len(pool) if pool else 0
    return pool[start:] + pool[:start]
