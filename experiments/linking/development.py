"""Development texts that label what the linker marks by default: the labelled part of a text, and its proper names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from data_builders.entity_linking.kinds import PROPER_NAMES, kinds_of
from data_builders.entity_linking.labels import read_labels


def names_only(row: Mapping[str, Any]) -> dict[str, Any]:
    """
    A row in ELEVANT's layout, cut to its evaluation span, without the labels of other kinds.

    A benchmark that labels common nouns too would count every one of them as missed, and a bias fitted on it would
    mark too much.
    """
    text, labels = row["text"], row["labels"]
    begin, end = row.get("evaluation_span") or (0, len(text))
    kept = [
        {**label, "span": [start - begin, stop - begin]}
        for label, read in zip(labels, read_labels(row), strict=True)
        if begin <= (start := read.start) < (stop := read.end) <= end and kinds_of(read, text) & set(PROPER_NAMES)
    ]
    ids = {label.get("id") for label in kept}
    for label in kept:
        label["parent"] = label.get("parent") if label.get("parent") in ids else None
        label["children"] = [child for child in label.get("children") or [] if child in ids]
    return {"id": row["id"], "text": text[begin:end], "evaluation_span": [0, end - begin], "labels": kept}
