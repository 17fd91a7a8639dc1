"""What a record holds beyond what can be rebuilt: kept aside, so that a conversion loses nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def difference(original: Mapping[str, Any], rebuilt: Mapping[str, Any]) -> dict[str, Any]:
    """
    Compare a record with the one rebuilt from its converted form.

    Args:
        original (`Mapping[str, Any]`): JSON values.
        rebuilt (`Mapping[str, Any]`): JSON values.

    Returns:
        `dict[str, Any]`: `set`: fields that the rebuilt record lacks or has otherwise; `drop`: fields that it has in
        excess. Empty if the records are equal as JSON, where `1`, `1.0`, `true` and `"1"` all differ.
    """
    changed = {
        key: value for key, value in original.items() if key not in rebuilt or _text(value) != _text(rebuilt[key])
    }
    excess = [key for key in rebuilt if key not in original]
    return {**({"set": changed} if changed else {}), **({"drop": excess} if excess else {})}


def restore(rebuilt: Mapping[str, Any], kept: Mapping[str, Any]) -> dict[str, Any]:
    """
    Inverse of [`difference`].

    Args:
        rebuilt (`Mapping[str, Any]`): The record as rebuilt.
        kept (`Mapping[str, Any]`): What [`difference`] returned.

    Returns:
        `dict[str, Any]`: The original record.
    """
    excess = kept.get("drop", ())
    return {**{key: value for key, value in rebuilt.items() if key not in excess}, **kept.get("set", {})}


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
