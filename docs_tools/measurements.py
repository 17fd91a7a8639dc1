"""Tables of measurements, from the results of the benchmarks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .cells import table

_RESULTS = Path(__file__).resolve().parents[1] / "benchmarks" / "results"


def stores() -> str:
    """What an index costs in files and in each database."""
    header = ["", "vectors", "recall@1", "ms per query", "with a filter for a tenth", "for a thousandth",
              "bytes per vector", "seconds to build"]  # fmt: skip
    indexes = json.loads((_RESULTS / "stores.json").read_text(encoding="utf-8"))["indexes"]
    return table(header, [_store(row) for row in sorted(indexes, key=lambda row: row["vectors"])])


def _store(row: dict[str, Any]) -> list[str]:
    head = [row["backend"], f"{row['vectors']:,}"]
    if "all" not in row:
        return [*head, f"not run: {row['not_run']}", *[""] * 5]
    times = [_rounded(row["all"]["ms_per_query"])]
    times += [_filtered(row[name]) if name in row else "–" for name in ("tenth", "thousandth")]
    size = row["bytes_per_vector"]
    recall = f"{row['all']['recall_at_1']:.2f}"
    return [*head, recall, *times, "–" if size is None else f"{size:,.0f}", _rounded(row["build_seconds"])]


def _filtered(measured: dict[str, float]) -> str:
    """The milliseconds of a search with a filter, and its recall where that is not 1."""
    recall = measured["recall_at_1"]
    return _rounded(measured["ms_per_query"]) + (f" ({recall:.2f})" if recall < 1 else "")


def _rounded(number: float) -> str:
    return f"{number:.1f}" if number < 9.95 else f"{number:,.0f}"
