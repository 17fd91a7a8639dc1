"""A record of `train.jsonl` and the example it becomes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from data_builders.errors import RecordError
from data_builders.paper.db_records import Layout, check_messages
from data_builders.paper.difference import difference, restore
from data_builders.paper.references import Documents, to_paper
from data_builders.schema import split_reference

QUERY_TOKENS = ("[RQ]", "[LK]", "[Question Representation]")
"""Those of the paper and of its published models."""


def read_example(
    record: Mapping[str, Any],
    documents: Documents,
    *,
    convert: Callable[[str], str | None],
    query_token: str = QUERY_TOKENS[0],
    renamed: Mapping[str, str] | None = None,
    num_negatives: int | None = None,
    default_id: str = "",
) -> tuple[dict[str, Any], Layout]:
    """
    Turn a record of `train.jsonl` into an example without `meta`.

    `positive` and `negative` stand in the record or, in the authors' first files, in each assistant's message. A
    positive may be one reference, a list of them, or null (nothing to retrieve: an empty list). Without `negative`
    there are none, and a text without query tokens needs no `positive`. A negative that is a positive of the same
    token is left out, as in the authors' sampling.

    Args:
        record (`Mapping[str, Any]`): `uid` (or `id`), `messages`, `positive`, `negative`.
        documents (`Documents`): The known documents.
        convert (`Callable[[str], str | None]`): Turns a reference into ours; `None` leaves it out.
        query_token (`str`, *optional*, defaults to `"[RQ]"`): The token that asks for a retrieval, as it is called
            after renaming.
        renamed (`Mapping[str, str]`, *optional*): New names of tokens in the assistant's messages.
        num_negatives (`int`, *optional*): The most negatives per token; by default all.
        default_id (`str`, *optional*): The id of a record without one.

    Returns:
        `tuple[dict[str, Any], Layout]`: The example, and what [`write_example`] needs to write the record again.

    Raises:
        `RecordError`: If a field is missing or has another form, or a reference is refused by `convert`.
    """
    uid = record.get("uid", record.get("id"))
    messages = check_messages(record.get("messages"), str(uid))
    contents = [_rename(message, renamed or {}) for message in messages]
    given = lists_of(record, "positive")
    spoken = [content for m, content in zip(messages, contents, strict=True) if m["role"] == "assistant"]
    if given is None and any(token in content for content in spoken for token in (query_token, *QUERY_TOKENS)):
        raise RecordError("missing_field", "the field `positive` is missing; add one entry per query token.")
    positives = [_converted(entry, convert) for entry in given or []]
    refused = lists_of(record, "negative")
    negatives = [_converted(entry, convert) for entry in ([[]] * len(positives) if refused is None else refused)]
    if len(negatives) == len(positives):
        negatives = [
            [n for n in own if not any(_overlap(n, p, documents) for p in right)][:num_negatives]
            for own, right in zip(negatives, positives, strict=True)
        ]
    example = {
        "id": default_id if uid is None else str(uid),
        "messages": [
            {"role": message["role"], "content": content} for message, content in zip(messages, contents, strict=True)
        ],
        "positives": positives,
        "negatives": negatives,
        "question": next((m["content"] for m in messages if m["role"] == "user"), ""),
        "answers": [],
    }
    layout: Layout = {"query_token": query_token}
    if isinstance(uid, int):
        layout["number"] = True
    if given is not None and "positive" not in record:
        layout["per_message"] = True
    if renamed:
        layout["renamed"] = dict(renamed)
    if kept := difference(record, write_example(example, layout, documents)):
        layout["difference"] = kept
    return example, layout


def write_example(example: Mapping[str, Any], layout: Mapping[str, Any], documents: Documents) -> dict[str, Any]:
    """
    Turn an example into a record of `train.jsonl`.

    Args:
        example (`Mapping[str, Any]`): A record of the `examples` config.
        layout (`Mapping[str, Any]`): From [`read_example`]; for examples of another source only the `query_token`.
        documents (`Documents`): The known documents.

    Returns:
        `dict[str, Any]`: The record.
    """
    old_names = {new: old for old, new in layout.get("renamed", {}).items()}
    is_number = layout.get("number") and example["id"].removeprefix("-").isdecimal()
    messages = [{"role": m["role"], "content": _rename(m, old_names)} for m in example["messages"]]
    record: dict[str, Any] = {"uid": int(example["id"]) if is_number else example["id"], "messages": messages}
    lists = {
        "positive": [[to_paper(reference, documents) for reference in own] for own in example["positives"]],
        "negative": [[to_paper(reference, documents) for reference in own] for own in example["negatives"]],
    }
    if layout.get("per_message"):
        start = 0
        for original, message in zip(example["messages"], messages, strict=True):
            if message["role"] == "assistant":
                end = start + original["content"].count(layout["query_token"])
                message.update({name: entries[start:end] for name, entries in lists.items()})
                start = end
    else:
        record.update(lists)
    return restore(record, layout.get("difference", {}))


def lists_of(record: Mapping[str, Any], field: str) -> list[Any] | None:
    """
    Collect `positive` or `negative` of a record: its own, or those of its assistant's messages in order.

    Raises:
        `RecordError`: If they are no list.
    """
    turns = (message for message in record["messages"] if message["role"] == "assistant")
    found = [holder[field] for holder in ([record] if field in record else turns) if holder.get(field) is not None]
    if not all(isinstance(entries, list) for entries in found):
        raise RecordError("malformed_field", f"`{field}` must be a list with one entry per query token.")
    return [entry for entries in found for entry in entries] if found else None


def _converted(entry: Any, convert: Callable[[str], str | None]) -> list[str]:
    references = entry if isinstance(entry, list) else [entry]
    if not all(reference is None or type(reference) in (str, int) for reference in references):
        raise RecordError("malformed_field", f"an entry of `positive` and `negative` must be ids, got {entry!r}.")
    found = [convert(str(reference)) for reference in references if reference is not None]
    return list(dict.fromkeys(reference for reference in found if reference is not None))


def _rename(message: Mapping[str, Any], names: Mapping[str, str]) -> str:
    content: str = message["content"]
    if message["role"] == "assistant":
        for old, new in names.items():
            content = content.replace(old, new)
    return content


def _overlap(left: str, right: str, documents: Documents) -> bool:
    left_id, left_sentence = split_reference(left, documents)  # type: ignore[arg-type]
    right_id, right_sentence = split_reference(right, documents)  # type: ignore[arg-type]
    return left_id == right_id and (left_sentence is None or right_sentence is None or left_sentence == right_sentence)
