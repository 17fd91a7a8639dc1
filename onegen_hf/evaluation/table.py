"""A report as a table for people."""

from __future__ import annotations

from collections.abc import Iterator

from .linking.report import LinkingReport
from .report import GOLD, EvaluationReport, GroupResult, RunResult
from .scoring import TASK_METRICS

_COLUMNS = (
    "recall@1", "exact_match", *TASK_METRICS, "f1", "joint_f1", "hop_count_accuracy",
    "recall@5", "recall@10", "mrr", "ndcg@10",
)  # fmt: skip
_LINKING_COLUMNS = ("micro_f1", "micro_precision", "micro_recall", "detection_f1", "recall@1", "recall@10")
_DETECTION_COLUMNS = ("detection_f1", "detection_precision", "detection_recall")
_MOST_COLUMNS = 4
_CELL = 21


def format_report(report: EvaluationReport) -> str:
    """
    Format the main scores with their confidence intervals; `report.json` holds all scores.

    Args:
        report ([`EvaluationReport`])
    """
    if isinstance(report, LinkingReport):
        return "\n".join(_linking(report))
    where = report.dataset if report.split is None else f"{report.dataset}, split {report.split}"
    lines = [
        f"{report.task} of {report.model} on {where}",
        f"{report.settings['index']['passages']} passages searched, k={report.settings['k']}, "
        f"{report.settings['model']['dtype']}; [{report.level:.0%} confidence interval]",
    ]
    for name, run in report.results.items():
        lines += ["", *_table("gold passages" if name == GOLD else name, run)]
    return "\n".join(lines)


def _linking(report: LinkingReport) -> Iterator[str]:
    index, threshold = report.settings["index"], report.scoring["threshold"]
    facts = [f"{index['passages']} entities" if index else "no catalogue", f"k={report.settings['k']}"]
    if threshold is not None:
        facts.append(f"threshold {threshold:.3f}{' (fitted)' if 'threshold' in report.scoring['fitted'] else ''}")
    if report.scoring["prior_weight"]:
        facts.append(f"prior weight {report.scoring['prior_weight']:.3f}")
    yield f"{report.task} of {report.model}, mode {report.settings['mode']}"
    yield f"{', '.join(facts)}, {report.settings['model']['dtype']}; [{report.level:.0%} confidence interval]"
    yield ""
    rows = {name: run.all for name, run in report.results.items()}
    metrics = next(iter(rows.values())).metrics
    columns = _LINKING_COLUMNS if "micro_f1" in metrics else _DETECTION_COLUMNS
    names = [name for name in columns if name in metrics]
    width = max(map(len, (*rows, "data set")))
    yield f"{'data set':<{width}}  texts  mentions  {''.join(f'{name:<{_CELL}}  ' for name in names)}".rstrip()
    for name, group in rows.items():
        cells = "".join(f"{_cell(group, column):<{_CELL + 2}}" for column in names)
        yield f"{name:<{width}}  {group.examples:>5}  {group.hops:>8}  {cells}".rstrip()


def _table(title: str, run: RunResult) -> Iterator[str]:
    names = [name for name in _COLUMNS if name in run.all.metrics][:_MOST_COLUMNS]
    rows = [("all", run.all), *run.by_type.items()]
    rows += [(f"hop {hop}", group) for hop, group in run.by_hop.items() if len(run.by_hop) > 1]
    width = max(len(label) for label in (title, *(label for label, _ in rows)))
    yield f"{title:<{width}}  examples  {''.join(f'{name:<{_CELL}}  ' for name in names)}".rstrip()
    for label, group in rows:
        yield f"{label:<{width}}  {group.examples:>8}  {''.join(_cell(group, name) for name in names)}".rstrip()


def _cell(group: GroupResult, name: str) -> str:
    if name not in group.metrics:
        return f"{'-':<{_CELL}}  "
    estimate = group.metrics[name]
    return f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]  "
