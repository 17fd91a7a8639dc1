"""Tiny made-up records in the input layouts of the builders."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq

from data_builders.build import build_repository
from data_builders.converter import Converter
from data_builders.multi_hop.converter import MultiHopConverter

PASSAGES = {
    "The Tin Boat": ["The Tin Boat is a film directed by Ada Moll.", " It has a boat in it."],
    "Ada Moll": ["Ada Moll (4 May 1950) is a director.", ""],
    "The Red Kite": ["The Red Kite is a film directed by Ben Oak."],
    "Ben Oak": ["Ben Oak (June 7, 1950) is a director."],
    "Elm Hill": ["Elm Hill is a hill."],
    "Fern Bay": ["Fern Bay is a bay."],
}


def record(**changes: Any) -> dict[str, Any]:
    """A two-hop record with the list layout; keyword arguments replace fields, `None` removes one."""
    fields: dict[str, Any] = {
        "id": "r1",
        "type": "compositional",
        "question": "When was the director of The Tin Boat born?",
        "answer": "4 May 1950",
        "answer_aliases": ["4 May 1950", "May 4, 1950"],
        "context": [[title, sentences] for title, sentences in PASSAGES.items()],
        "supporting_facts": [["The Tin Boat", 0], ["Ada Moll", 0]],
        "decomposition": [
            {"sub_question": "Who directed The Tin Boat?", "answer": "Ada Moll", "title": "The Tin Boat"},
            {"sub_question": "When was Ada Moll born?", "answer": "4 May 1950", "title": "Ada Moll"},
        ],
    }
    fields.update(changes)
    return {name: value for name, value in fields.items() if value is not None}


def column_layout(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The same record in the layout of the Parquet files: columns instead of pairs."""
    context, facts = fields["context"], fields["supporting_facts"]
    return {
        **fields,
        "context": {"title": [t for t, _ in context], "sentences": [s for _, s in context]},
        "supporting_facts": {"title": [t for t, _ in facts], "sent_id": [n for _, n in facts]},
    }


def bridge_comparison(**changes: Any) -> dict[str, Any]:
    """A four-hop comparison of two birth dates in the same year."""
    steps = [
        ("Who directed The Tin Boat?", "Ada Moll", "The Tin Boat"),
        ("Who directed The Red Kite?", "Ben Oak", "The Red Kite"),
        ("When was Ada Moll born?", "4 May 1950", "Ada Moll"),
        ("When was Ben Oak born?", "June 7, 1950", "Ben Oak"),
    ]
    return record(
        type="bridge_comparison",
        question="Which film's director is older, The Tin Boat or The Red Kite?",
        answer="The Tin Boat",
        answer_aliases=None,
        supporting_facts=[[title, 0] for _, _, title in steps],
        decomposition=[{"sub_question": q, "answer": a, "title": t} for q, a, t in steps],
        **changes,
    )


def write_lines(path: Path, records: Iterable[Mapping[str, Any]]) -> Path:
    """Write records as JSON lines."""
    path.write_text("".join(json.dumps(fields) + "\n" for fields in records), encoding="utf-8")
    return path


def write_corpus(path: Path) -> Path:
    """Write the passages as a corpus with ids of its own."""
    return write_lines(
        path, ({"id": n, "title": title, "sentences": PASSAGES[title]} for n, title in enumerate(PASSAGES))
    )


class Built(NamedTuple):
    """What a build wrote: the documents, the examples of one split, and the whole report."""

    documents: list[dict[str, Any]]
    examples: list[dict[str, Any]]
    report: dict[str, Any]

    @property
    def counts(self) -> dict[str, Any]:
        """The report of the split `train`."""
        counts: dict[str, Any] = self.report["splits"]["train"]
        return counts


def build(out: Path, source: Any, documents: Any = (), converter: Converter | None = None, **options: Any) -> Built:
    """Build the split `train` from `source` into a folder beside it, and read it back."""
    report = build_repository(converter or MultiHopConverter(), out, {"train": source}, documents, **options)
    return Built(read_split(out / "documents"), read_split(out / "examples"), report)


def read_split(folder: Path, split: str = "train") -> list[dict[str, Any]]:
    """The rows of all shards of a split."""
    return [row for file in sorted(folder.glob(f"{split}-*.parquet")) for row in pq.read_table(file).to_pylist()]
