"""Annotated texts of entity-linking benchmarks, read for evaluation: what is gold, and what the catalogue lacks."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_builders.entity_linking.aida import is_aida, read_aida
from data_builders.entity_linking.annotation import remove_annotation
from data_builders.entity_linking.labels import Label, read_labels, unlinkable_reason
from data_builders.entity_linking.selection import is_coreference
from data_builders.errors import ErrorPolicy
from data_builders.records import read_records

from ...configuration import OneGenConfig
from ...metrics.mentions import Mention

_OPTIONAL_TYPES = ("QUANTITY", "DATETIME")


@dataclass(frozen=True)
class LinkingDocument:
    """
    An annotated text.

    Attributes:
        id (`str`)
        text (`str`)
        evaluation_span (`tuple[int, int]`): The part of the text that was annotated.
        labels (`tuple[Mapping[str, Any]]`): In ELEVANT's layout; an entity that the catalogue lacks is `"NIL"`.
        left_out (`Mapping[str, int]`): Reason → labels that are not scored for it.
    """

    id: str
    text: str
    evaluation_span: tuple[int, int]
    labels: tuple[Mapping[str, Any], ...]
    left_out: Mapping[str, int]

    @property
    def gold(self) -> list[Mention]:
        """The labels whose entity is in the catalogue."""
        return [
            Mention(label["span"][0], label["span"][1], label["entity_id"], label["optional"])
            for label in self.labels
            if label["entity_id"] != "NIL"
        ]


def load_linking_rows(path: str | os.PathLike[str], split: str | None = None) -> list[dict[str, Any]]:
    """
    Read a benchmark: ELEVANT's JSON lines in any version, or AIDA-CoNLL's table, told apart by the content.

    Args:
        path (`str` or path): May be compressed with gzip.
        split (`str`, *optional*): Of AIDA's table: `"train"`, `"testa"` or `"testb"`; by default all of it.

    Raises:
        `FileNotFoundError`: If there is no such file.
        `ValueError`: If a record is malformed, or there is none of the split.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such file; give ELEVANT's JSON lines or AIDA's table")
    policy = ErrorPolicy()
    rows = [row.record for row in (read_aida(path, policy) if is_aida(path) else read_records(path, policy))]
    chosen = [row for row in rows if split is None or row.get("split") == split]
    if not chosen:
        there = sorted({str(row["split"]) for row in rows if row.get("split")})
        raise ValueError(f"{path}: no document of split {split!r}" + (f"; there are {there}" if there else ""))
    return chosen


def row_of_example(example: Mapping[str, Any], config: OneGenConfig) -> dict[str, Any]:
    """The benchmark's row behind an example that `onegen-hf build entity-linking` made."""
    meta = example.get("meta") or {}
    meta = json.loads(meta) if isinstance(meta, str) else meta
    if "labels" not in meta:
        raise ValueError(f"example {example.get('id')!r} has no labels in its meta: build it as `entity-linking`")
    tokens = config.tokens
    annotated = next(turn["content"] for turn in example["messages"] if turn["role"] == "assistant")
    text = remove_annotation(annotated, tokens.query, tokens.continuation or "")
    labels = [{**label, "entity_id": label.get("linked_to") or label["entity_id"]} for label in meta["labels"]]
    return {"id": example["id"], "text": text, "labels": labels, "evaluation_span": meta.get("evaluation_span")}


def read_linking_documents(
    rows: Sequence[Mapping[str, Any]], catalogue: Iterable[tuple[str, str]] | None, coreferences: bool = True
) -> list[LinkingDocument]:
    """
    Read the rows of a benchmark.

    A label whose id is not in the catalogue is looked up by its other ids, and where it has some (AIDA's), by the name
    of its entity if exactly one has it.

    Args:
        rows (`Sequence[Mapping]`): In ELEVANT's layout: `text`, `labels`, optionally `id` and `evaluation_span`.
        catalogue (`Iterable[tuple[str, str]]`, *optional*): Id and name of every entity; read once. `None`: every id
            that names an entity at all is known.
        coreferences (`bool`, *optional*, defaults to `True`): `False` drops the labels of pronouns and other
            coreferences, as ELEVANT's "no-coref" benchmarks do.

    Raises:
        `ValueError`: If there is no row, a row has no text or malformed labels, or a span leaves its text.
    """
    if not rows:
        raise ValueError("the data set is empty: give at least one annotated text")
    read = [(row, _text(row, number), read_labels(row)) for number, row in enumerate(rows)]
    known = None if catalogue is None else _Known((label for _, _, labels in read for label in labels), catalogue)
    return [
        _document(number, row, text, labels, known, coreferences) for number, (row, text, labels) in enumerate(read)
    ]


class _Known:
    """The entities of the catalogue that labels ask for; only they are kept, as a catalogue may have millions."""

    def __init__(self, labels: Iterable[Label], catalogue: Iterable[tuple[str, str]]) -> None:
        ids: set[str] = set()
        names: set[str] = set()
        for label in labels:
            ids.update((label.entity_id, *label.other_ids))
            names.update((label.name.casefold(),) if label.other_ids else ())
        self.ids: set[str] = set()
        self.by_name: dict[str, list[str]] = {}
        for identifier, name in catalogue:
            if identifier in ids:
                self.ids.add(identifier)
            if names and name.strip().casefold() in names:
                self.by_name.setdefault(name.strip().casefold(), []).append(identifier)

    def resolve(self, label: Label) -> str | None:
        found = next((one for one in (label.entity_id, *label.other_ids) if one in self.ids), None)
        if found is not None or not label.other_ids:
            return found
        called = self.by_name.get(label.name.casefold(), [])
        return called[0] if len(called) == 1 else None


def _text(row: Mapping[str, Any], number: int) -> str:
    text = row.get("text")
    if not isinstance(text, str):
        raise ValueError(f"document {row.get('id', number)!r}: its text is {text!r:.60}; give a string")
    return text


def _document(
    number: int, row: Mapping[str, Any], text: str, labels: Sequence[Label], known: _Known | None, coreferences: bool
) -> LinkingDocument:
    identifier = str(number) if row.get("id") is None else str(row["id"])
    span = row.get("evaluation_span") or (0, len(text))
    left_out: Counter[str] = Counter()
    kept: dict[str, dict[str, Any]] = {}
    for label in labels:
        if not 0 <= label.start < label.end <= len(text):
            raise ValueError(
                f"document {identifier!r}: the label [{label.start}, {label.end}] is empty or leaves the text of "
                f"{len(text)} characters: mend or drop it"
            )
        if not coreferences and is_coreference(label, text):
            left_out["coreference"] += 1
            continue
        reason = unlinkable_reason(label)
        entity = None if reason is not None else known.resolve(label) if known is not None else label.entity_id
        if entity is None:
            left_out[reason or "not_in_catalogue"] += 1
        # A parent is named by the first label of its id.
        key = label.key if label.key and label.key not in kept else f"{label.key}#{label.number}"
        optional = label.optional or label.type in _OPTIONAL_TYPES
        left_out["optional"] += optional and entity is not None
        kept[key] = {
            "id": key,
            "span": [label.start, label.end],
            "entity_id": entity or "NIL",
            "type": label.type,
            "optional": optional,
            "parent": label.parent,
            "children": [],
        }
    for key, own in kept.items():
        # A parent that was left out, or is the label itself, is none.
        parent = own["parent"] if own["parent"] in kept and own["parent"] != key else None
        own["parent"] = parent
        if parent is not None:
            kept[parent]["children"].append(key)
    return LinkingDocument(
        identifier, text, (int(span[0]), int(span[1])), tuple(kept.values()), {n: c for n, c in left_out.items() if c}
    )
