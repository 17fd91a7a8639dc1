"""Which column of somebody's file holds what."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from data_builders.errors import RecordError

NAMES = {
    "text": ("text", "content", "contents", "body", "passage", "paragraph", "article", "document"),
    "title": ("title", "name", "heading", "headline", "url"),
    "id": ("id", "_id", "doc_id", "document_id", "passage_id", "pid"),
    "question": ("question", "query", "instruction", "input", "prompt"),
    "answer": ("answers", "answer", "response", "output", "label", "target"),
    "passages": ("passage_ids", "passage_id", "passages", "positives", "positive", "document_ids", "document_id",
                 "doc_id"),
}  # fmt: skip
"""What → the names that its column usually has, the first that a record has counts."""


def find_value(record: Mapping[str, Any], what: str, column: str | None) -> Any:
    """
    Look a value up.

    Args:
        record (`Mapping[str, Any]`):
            A row.
        what (`str`):
            A key of [`NAMES`].
        column (`str`, *optional*):
            The column that the user named; then no other counts.

    Returns:
        `Any`: The value, `None` if there is no such column.
    """
    for name in (column,) if column else NAMES[what]:
        if record.get(name) is not None:
            return record[name]
    return None


def required_value(record: Mapping[str, Any], what: str, column: str | None) -> str:
    """
    Look a text up that must be there.

    Raises:
        `RecordError`: If there is none; the message names the columns and the option.
    """
    value = find_value(record, what, column)
    if value is None:
        raise RecordError(
            "missing_field",
            f"no column {column or ' or '.join(NAMES[what])!r} among {sorted(record)}; name it with `{what}_column`.",
        )
    if not isinstance(value, str) or not value.strip():
        raise RecordError("malformed_field", f"the {what} must be text and not empty, got {value!r:.60}.")
    return value.strip()


def list_of_texts(value: Any, what: str) -> list[str]:
    """
    Read one text, a list of texts, or such a list written as JSON (in a cell of a CSV file).

    Raises:
        `RecordError`: If it is something else.
    """
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except json.JSONDecodeError:
            value = [value]
    if isinstance(value, Mapping) and isinstance(value.get("text"), list):  # as in SQuAD
        value = value["text"]
    items = value if isinstance(value, list) else [] if value is None else [value]
    if not all(isinstance(item, (str, int, float)) and not isinstance(item, bool) for item in items):
        raise RecordError("malformed_field", f"the {what} must be a text or a list of texts, got {value!r:.60}.")
    return list(dict.fromkeys(text for item in items if (text := str(item).strip())))
