"""A report as a table for people."""

from __future__ import annotations

from collections.abc import Iterator

from .report import GOLD, EvaluationReport, GroupResult, RunResult

_COLUMNS = (
    "recall@1", "exact_match", "match", "accuracy", "f1", "joint_f1", "as_many_hops",
    "recall@5", "recall@10", "mrr", "ndcg@10",
)  # fmt: skip
_MOST_COLUMNS = 4
_CELL = 21


def format_report(report: EvaluationReport) -> str:
    """
    Write the main scores with their confidence intervals; `report.json` has all of them.

    Args:
        report ([`EvaluationReport`])
    """
    where = report.dataset if report.split is None else f"{report.dataset}, split {report.split}"
    lines = [
        f"{report.task} of {report.model} on {where}",
        f"{report.settings['index']['passages']} passages searched, k={report.settings['k']}, "
        f"{report.settings['model']['dtype']}; [{report.level:.0%} confidence interval]",
    ]
    for name, run in report.results.items():
        lines += ["", *_table("gold passages" if name == GOLD else name, run)]
    return "\n".join(lines)


def _table(title: str, run: RunResult) -> Iterator[str]:
    names = [name for name in _COLUMNS if name in run.all.metrics][:_MOST_COLUMNS]
    rows = [("all", run.all), *run.by_type.items()]
    rows += [(f"hop {hop}", found) for hop, found in run.by_hop.items() if len(run.by_hop) > 1]
    width = max(len(label) for label in (title, *(label for label, _ in rows)))
    yield f"{title:<{width}}  examples  {''.join(f'{name:<{_CELL}}  ' for name in names)}".rstrip()
    for label, found in rows:
        yield f"{label:<{width}}  {found.examples:>8}  {''.join(_cell(found, name) for name in names)}".rstrip()


def _cell(found: GroupResult, name: str) -> str:
    if name not in found.metrics:
        return f"{'-':<{_CELL}}  "
    estimate = found.metrics[name]
    return f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]  "
