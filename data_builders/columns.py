"""Which column of somebody's file holds what, and its values as text: one table for all commands."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from data_builders.errors import RecordError

NAMES = {
    "text": ("text", "content", "contents", "body", "passage", "paragraph", "article", "document", "passage_text"),
    "title": ("title", "name", "heading", "headline", "url"),
    "id": ("id", "_id", "doc_id", "docid", "document_id", "passage_id", "pid", "uid", "uuid"),
    "question": ("question", "query", "instruction", "input", "prompt"),
    "answer": ("answers", "answer", "golden_answers", "response", "output", "label", "target"),
    "passages": ("passage_ids", "passage_id", "passages", "positives", "positive", "document_ids", "document_id",
                 "doc_id", "docid"),
}  # fmt: skip
"""What → the names that its column usually has; the first that a record has counts, in any spelling (`docID`)."""
_PLAIN = {what: {re.sub("[^a-z0-9]", "", name): None for name in names} for what, names in NAMES.items()}
_LIKE_AN_ID = re.compile(r"(?:^|_)(?:ids?|key|uuid|guid|identifier|pk)$")


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
        `Any`: The value, `None` if there is no such column, or nothing in it.
    """
    for name in (column,) if column else NAMES[what]:
        if not is_missing(record.get(name)):
            return record[name]
    if column is None:
        spelt = {_plain(name): value for name, value in record.items() if not is_missing(value)}
        return next((spelt[name] for name in _PLAIN[what] if name in spelt), None)
    return None


def find_column(columns: Sequence[str], what: str) -> str | None:
    """The column among several that holds what is looked for."""
    spelt = {_plain(name): name for name in reversed(columns)}
    known = [name for name in NAMES[what] if name in columns] or [spelt[n] for n in _PLAIN[what] if n in spelt]
    return known[0] if known else None


def check_ids_are_known(record: Mapping[str, Any]) -> None:
    """
    Make sure that a record whose id is not found has no id at all.

    Raises:
        `RecordError`: If a column looks like one, under a name that is not known.
    """
    unknown = [name for name in record if _LIKE_AN_ID.search(_snake(name))]
    if unknown and find_column(list(record), "id") is None:
        raise RecordError(
            "unknown_id",
            f"no column 'id' among {sorted(record)}, though {unknown[0]!r} looks like one; rename it to 'id', or drop "
            "it.",
        )


def as_text(value: Any, what: str) -> str:
    """
    A cell as text: numbers and dates are written out.

    Args:
        value:
            Of a column.
        what (`str`):
            What it is, for the error.

    Raises:
        `RecordError`: If it is a list, a mapping, a truth value or bytes, or can't be written as UTF-8.
    """
    if isinstance(value, (bool, bytes, Mapping)) or (not isinstance(value, str) and hasattr(value, "__len__")):
        raise RecordError("malformed_field", f"the {what} must be text, got {value!r:.60}.")
    text = str(value)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise RecordError(
            "invalid_text", f"the {what} holds half of a surrogate pair at {error.start}, which is no text; mend it."
        ) from error
    return text


def sentences_of(value: Any) -> list[str]:
    """
    A column of sentences, also as a JSON list in a cell.

    Raises:
        `RecordError`: If it is a single text, which would be read letter by letter, or not all of it is text.
    """
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except json.JSONDecodeError:
            pass
    if isinstance(value, (str, bytes, Mapping)) or not hasattr(value, "__iter__"):
        raise RecordError("malformed_field", f"`sentences` must be a list of texts, got {value!r:.60}; use `text`.")
    sentences = list(value)
    if any(is_missing(sentence) for sentence in sentences):
        raise RecordError("malformed_field", "`sentences` holds an empty entry (null); leave it out.")
    return [as_text(sentence, f"sentence {number}") for number, sentence in enumerate(sentences)]


def is_missing(value: Any) -> bool:
    """Whether a cell holds nothing: a null, or the NaN that pandas writes for one."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def _plain(name: Any) -> str:
    return re.sub("[^a-z0-9]", "", str(name).lower())


def _snake(name: Any) -> str:
    return re.sub(r"[^a-z0-9]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", str(name)).lower())


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
    text = as_text(value, what).strip()
    if not text:
        raise RecordError("malformed_field", f"the {what} must be text and not empty, got {value!r:.60}.")
    return text


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
