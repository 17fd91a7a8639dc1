"""Text fields of a record, with an error that names the field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from data_builders.errors import RecordError


def text_field(record: Mapping[str, Any], field: str, prefix: str = "") -> str:
    """
    Read a field that must hold text.

    Args:
        record (`Mapping[str, Any]`):
            The record.
        field (`str`):
            Its name.
        prefix (`str`, *optional*, defaults to `""`):
            Where the record stands in a larger one, such as `"paragraphs[2]."`; errors name the field with it.

    Returns:
        `str`: The text as it is.

    Raises:
        `RecordError`: If it is missing, no text or blank.
    """
    value = record.get(field)
    if value is None:
        raise RecordError("missing_field", f"the field `{prefix}{field}` is missing; add it.")
    if not isinstance(value, str) or not value.strip():
        raise RecordError(
            "malformed_field", f"the field `{prefix}{field}` must be text and not empty, got {value!r:.60}."
        )
    return value


def optional_text_field(record: Mapping[str, Any], field: str) -> str:
    """
    Read a field that may be missing.

    Args:
        record (`Mapping[str, Any]`):
            The record.
        field (`str`):
            Its name.

    Returns:
        `str`: The stripped text, empty where there is none.

    Raises:
        `RecordError`: If it is no text.
    """
    value = record.get(field)
    if value is not None and not isinstance(value, str):
        raise RecordError("malformed_field", f"the field `{field}` must be text, got {type(value).__name__}.")
    return (value or "").strip()
