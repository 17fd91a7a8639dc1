"""The fields of a multi-hop record, brought to one form from the layouts that circulate."""

from __future__ import annotations

import ast
import html
import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from data_builders.errors import Dropped, RecordError
from data_builders.text_fields import text_field

# Fields that some copies of the data sets on the Hub hold as the text of a JSON or Python value.
_NESTED = (
    "context", "supporting_facts", "evidences", "evidence", "decomposition", "question_decomposition", "paragraphs",
    "answer_aliases", "golden_answers", "metadata",
)  # fmt: skip
_PARENTHESIS = re.compile(r"\s*\([^()]*\)$")


def decode_record(record: Mapping[str, Any]) -> dict[str, Any]:
    """
    Decode the fields that hold a value as text, and lift what FlashRAG's files keep in `metadata`.

    Args:
        record (`Mapping[str, Any]`):
            A row as it was read.

    Returns:
        `dict[str, Any]`: The row with lists and mappings where they belong.

    Raises:
        `RecordError`: If such a text is neither JSON nor a Python literal.
    """
    decoded = {
        **record,
        **{name: _decode(name, record[name]) for name in _NESTED if isinstance(record.get(name), str)},
    }
    if isinstance(decoded.get("metadata"), Mapping):
        decoded = {**decode_record({**decoded["metadata"], "metadata": None}), **decoded}
    context = decoded.get("context")
    if isinstance(context, list) and context and all(isinstance(passage, Mapping) for passage in context):
        decoded["context"] = [[passage.get("title"), _sentences(passage)] for passage in context]
    answers = decoded.get("golden_answers")
    if decoded.get("answer") is None and isinstance(answers, list) and answers:
        decoded["answer"], decoded["answer_aliases"] = (
            answers[0],
            [*answers[1:], *(decoded.get("answer_aliases") or [])],
        )
    return decoded


def _sentences(passage: Mapping[str, Any]) -> Any:
    found = next((passage[name] for name in ("sentences", "content", "text") if name in passage), None)
    return [found] if isinstance(found, str) else found


def _decode(name: str, text: str) -> Any:
    if not text.strip():
        return None
    for decode, fault in ((json.loads, json.JSONDecodeError), (ast.literal_eval, (SyntaxError, ValueError))):
        try:
            return decode(text)
        except fault:
            continue
    raise RecordError("malformed_field", f"`{name}` is text, but neither JSON nor a Python literal: {text[:60]!r}.")


def rows_of(value: Any, field: str) -> list[Mapping[str, Any]]:
    """
    Bring a list of objects to one form: a list of them, or a mapping of columns, as Parquet files have it.

    Raises:
        `RecordError`: If it is neither.
    """
    if isinstance(value, Mapping):
        lengths = {len(column) if isinstance(column, list) else -1 for column in value.values()}
        if len(lengths) != 1 or -1 in lengths:
            raise RecordError("malformed_field", f"the columns of `{field}` must be lists of the same length.")
        return [dict(zip(value, cells, strict=True)) for cells in zip(*value.values(), strict=True)]
    if not isinstance(value, list) or not all(isinstance(row, Mapping) for row in value):
        raise RecordError("malformed_field", f"`{field}` must be a list of objects.")
    return value


def required_text(record: Mapping[str, Any], field: str, prefix: str = "") -> str:
    """The text of a field that must be there, without the white space around it; see [`text_field`]."""
    return text_field(record, field, prefix).strip()


def read_answers(record: Mapping[str, Any]) -> list[str]:
    """
    Read the answer and its aliases.

    Returns:
        `list[str]`: The answer first, none twice.

    Raises:
        `Dropped`: If there is no answer, as in the test files of the data sets.
        `RecordError`: If it is no text.
    """
    if record.get("answer") is None or record["answer"] == "":
        raise Dropped("no_answer")
    aliases = record.get("answer_aliases") or []
    if not isinstance(aliases, list) or not all(isinstance(alias, str) for alias in aliases):
        raise RecordError("malformed_field", "`answer_aliases` must be a list of texts.")
    return list(dict.fromkeys([required_text(record, "answer"), *filter(str.strip, aliases)]))


def supporting_facts(record: Mapping[str, Any]) -> list[tuple[str, int | None]]:
    """
    List the supporting facts.

    Args:
        record (`Mapping[str, Any]`):
            A record with `supporting_facts` as `[[title, sent_id], ...]` or `{"title": [...], "sent_id": [...]}`.

    Returns:
        `list[tuple[str, int | None]]`: Titles and sentence numbers as they are, `None` where only the title is given.

    Raises:
        `RecordError`: If the field is missing, empty or malformed.
    """
    facts = record.get("supporting_facts")
    if not facts:
        raise RecordError("missing_field", "the field `supporting_facts` (or `decomposition`) is missing; add it.")
    if isinstance(facts, Mapping):
        titles = facts.get("title")
        numbers = facts.get("sent_id", facts.get("sent_idx"))
        titles = titles if isinstance(titles, list) else []
        pairs: list[Any] = list(zip(titles, numbers or [None] * len(titles), strict=False))
    else:
        pairs = facts if isinstance(facts, list) else []
    found = []
    for pair in pairs:
        if isinstance(pair, Mapping):
            pair = (pair.get("title"), pair.get("sent_id"))
        title, number, *_ = [*pair, None, None] if isinstance(pair, (list, tuple)) else [None, None]
        if isinstance(number, float) and number.is_integer():
            number = int(number)
        if not isinstance(title, str) or not (number is None or isinstance(number, int)):
            raise RecordError("malformed_field", "`supporting_facts` must hold pairs [title, sent_id].")
        found.append((title, number))
    if not found:
        raise RecordError("malformed_field", "`supporting_facts` must hold pairs [title, sent_id].")
    return found


def supporting_titles(record: Mapping[str, Any]) -> list[str]:
    """List the titles of [`supporting_facts`], each once, in order."""
    return list(dict.fromkeys(title for title, _ in supporting_facts(record)))


def without_parenthesis(title: str) -> str:
    """The title as a text names it: `Safe (2012 film)` is `Safe`."""
    return _PARENTHESIS.sub("", title) or title


def title_key(title: str) -> str:
    """What two spellings of one title have in common: case, HTML entities and Unicode forms do not count."""
    return " ".join(unicodedata.normalize("NFKC", html.unescape(title)).casefold().split())


def match_title(title: str, titles: Sequence[str]) -> str | None:
    """
    Find a title among others.

    Args:
        title (`str`):
            The title, or the name of the thing that has it.
        titles (`Sequence[str]`):
            Those to choose from.

    Returns:
        `str | None`: The same title, else the only one that is spelled likewise, else the only one that is so without
        a parenthesis at its end.
    """
    if title in titles:
        return title
    for key in (title_key, lambda text: title_key(without_parenthesis(text))):
        found = [other for other in titles if key(other) == key(title)]
        if found:
            return found[0] if len(found) == 1 else None
    return None
