"""One multi-hop question with its decomposition becomes one training example."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from data_builders.documents import Document, DocumentStore, read_context
from data_builders.errors import RecordError
from data_builders.multi_hop.comparison import comparison_line
from data_builders.rendering import Hop, render_answer
from data_builders.schema import DEFAULT_QUERY_TOKEN, validate_example


def add_context(record: Mapping[str, Any], store: DocumentStore) -> None:
    """Put the passages that a record carries itself into `store`."""
    for title, sentences in read_context(record):
        if sentences is not None:
            store.add(title, sentences)


def read_hops(record: Mapping[str, Any]) -> tuple[list[Hop], str]:
    """
    Read the decomposition of a record, or make one up.

    Without a decomposition there is one hop per supporting title, in the order of `supporting_facts`; its sub
    question is the whole question and it has no answer. That teaches retrieval of the right passages in a fixed
    order but no reasoning in between: prefer records with a decomposition.

    Args:
        record (`Mapping[str, Any]`):
            The record.

    Returns:
        `tuple[list[Hop], str]`: The hops, and `"given"` or `"heuristic"`.

    Raises:
        `ValueError`: If there is neither a decomposition nor supporting facts, or one is malformed.
    """
    steps = record.get("decomposition")
    if not steps:
        question = _text(record, "question")
        return [Hop(question, None, title) for title in supporting_titles(record)], "heuristic"
    hops = []
    for number, step in enumerate(steps):
        if not isinstance(step, Mapping):
            raise RecordError("malformed_field", f"`decomposition[{number}]` must be an object.")
        answer = step.get("answer")
        if answer is not None and not isinstance(answer, str):
            raise RecordError("malformed_field", f"`decomposition[{number}].answer` must be text; quote it.")
        prefix = f"decomposition[{number}]."
        hops.append(Hop(_text(step, "sub_question", prefix), answer or None, _text(step, "title", prefix)))
    return hops, "given"


def supporting_titles(record: Mapping[str, Any]) -> list[str]:
    """
    List the titles of the supporting facts, each once, in order.

    Args:
        record (`Mapping[str, Any]`):
            A record with `supporting_facts` as `[[title, sent_id], ...]` or `{"title": [...], "sent_id": [...]}`.

    Returns:
        `list[str]`: The titles.

    Raises:
        `ValueError`: If the field is missing, empty or malformed.
    """
    facts = record.get("supporting_facts")
    if not facts:
        raise RecordError("missing_field", "the field `supporting_facts` (or `decomposition`) is missing; add it.")
    titles = facts.get("title") if isinstance(facts, Mapping) else [f[0] if f else None for f in facts]
    if not isinstance(titles, list) or not titles or not all(isinstance(title, str) for title in titles):
        raise RecordError("malformed_field", "`supporting_facts` must hold pairs [title, sent_id].")
    return list(dict.fromkeys(titles))


def record_to_example(
    record: Mapping[str, Any],
    store: DocumentStore,
    *,
    num_negatives: int = 5,
    query_token: str = DEFAULT_QUERY_TOKEN,
    default_id: str = "",
    neighbours: Callable[[str], Sequence[str]] | None = None,
) -> dict[str, Any]:
    """
    Turn a HotpotQA-style record into a record of the `examples` config.

    Args:
        record (`Mapping[str, Any]`):
            `question`, `answer`, `context` or `context_titles`, `decomposition` or `supporting_facts`; optional `id`
            (or `_id`), `type`, `template`, `level`, `answer_aliases`.
        store (`DocumentStore`):
            The documents, those of the record's context among them.
        num_negatives (`int`, *optional*, defaults to 5):
            The most hard negatives per hop. They are the other passages of the context, in its order, rotated by the
            number of the hop.
        query_token (`str`, *optional*, defaults to `"[RQ]"`):
            The token that asks for a retrieval.
        default_id (`str`, *optional*, defaults to `""`):
            The id of a record that has none.
        neighbours (`Callable[[str], Sequence[str]]`, *optional*):
            Further hard negatives of a positive by its id, such as [`TitleNeighbours`]; those that are gold are left
            out.

    Returns:
        `dict[str, Any]`: The example.

    Raises:
        `ValueError`: If a field is missing or malformed, or a title has no document.
    """
    question, answer = _text(record, "question"), _text(record, "answer")
    hops, origin = read_hops(record)
    context = {title: store.find(title, sentences) for title, sentences in read_context(record)}
    passages = [context.get(hop.title) or _find_gold(store, hop.title) for hop in hops]
    gold = {passage.id for passage in passages}
    if record.get("supporting_facts"):
        # A supporting passage that no hop names still answers part of the question: it is no negative.
        gold.update(context[title].id for title in supporting_titles(record) if title in context)
    pool = list(dict.fromkeys(document.id for document in context.values() if document.id not in gold))
    negatives = [_rotate(pool, number)[: max(num_negatives, 0)] for number in range(len(hops))]
    if neighbours is not None:
        for passage, own in zip(passages, negatives, strict=True):
            own += [other for other in neighbours(passage.id) if other not in gold and other not in own]
    question_type = record.get("type")
    line = comparison_line(question_type, [hop.answer for hop in hops], answer)
    meta = {"decomposition": origin, "comparison": line is not None}
    meta.update({key: record[key] for key in ("type", "template", "level") if isinstance(record.get(key), str)})
    example = {
        "id": str(record.get("id") or record.get("_id") or default_id),
        "messages": [
            {"role": "user", "content": question},
            {"role": "assistant", "content": render_answer(hops, passages, line, answer, query_token)},
        ],
        "positives": [[passage.id] for passage in passages],
        "negatives": negatives,
        "question": question,
        "answers": list(dict.fromkeys([answer, *(record.get("answer_aliases") or [])])),
        "meta": json.dumps(meta, ensure_ascii=False, sort_keys=True),
    }
    try:
        validate_example(example, store, query_token)
    except ValueError as error:
        raise RecordError("invalid_example", str(error)) from error
    return example


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


def _text(record: Mapping[str, Any], field: str, prefix: str = "") -> str:
    value = record.get(field)
    if value is None:
        raise RecordError("missing_field", f"the field `{prefix}{field}` is missing; add it.")
    if not isinstance(value, str) or not value.strip():
        raise RecordError("malformed_field", f"the field `{prefix}{field}` must be text and not empty.")
    return value.strip()
