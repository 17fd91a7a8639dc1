"""What a build did with its rows: counts that add up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson


@dataclass
class SplitReport:
    """
    Counts of one split; `rows` = `examples` + all of `dropped`.

    Args:
        counted_meta (`Sequence[str]`, *optional*):
            Fields of an example's `meta` whose values are counted; of an object, its numbers are added up.
    """

    counted_meta: Sequence[str] = ()
    rows: int = 0
    examples: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    hops: int = 0
    hops_without_positives: int = 0
    hops_without_negatives: int = 0
    negatives: int = 0
    meta: dict[str, Counter[str]] = field(default_factory=dict)

    def add(self, example: Mapping[str, Any]) -> None:
        """Count one example."""
        self.examples += 1
        self.hops += len(example["positives"])
        self.hops_without_positives += sum(not ids for ids in example["positives"])
        self.hops_without_negatives += sum(not ids for ids in example["negatives"])
        self.negatives += sum(len(ids) for ids in example["negatives"])
        if self.counted_meta:
            meta = orjson.loads(example["meta"])
            for name in self.counted_meta:
                value = meta.get(name)
                if isinstance(value, dict):
                    self.meta.setdefault(name, Counter()).update(value)
                elif value is not None:
                    self.meta.setdefault(name, Counter())[str(value)] += 1

    def as_dict(self) -> dict[str, Any]:
        """Return the counts, reasons and values in alphabetical order."""
        counts = ("rows", "examples", "hops", "hops_without_positives", "hops_without_negatives", "negatives")
        return {
            **{name: getattr(self, name) for name in counts},
            "dropped": dict(sorted(self.dropped.items())),
            "meta": {name: dict(sorted(values.items())) for name, values in sorted(self.meta.items())},
        }
