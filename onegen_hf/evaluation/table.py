"""A report as tables for people."""

from __future__ import annotations

from dataclasses import dataclass

from .linking.report import LinkingReport
from .report import COSTS, GOLD, EvaluationReport, GroupResult, RunResult
from .scoring import TASK_METRICS

_COLUMNS = (
    "recall@1", "exact_match", *TASK_METRICS, "citation_precision", "citation_recall", "f1", "joint_f1",
    "hop_count_accuracy", "recall@5", "recall@10", "mrr", "ndcg@10", "answered",
)  # fmt: skip
_LINKING_COLUMNS = ("micro_f1", "micro_precision", "micro_recall", "detection_f1", "recall@1", "recall@10")
_DETECTION_COLUMNS = ("detection_f1", "detection_precision", "detection_recall")
_MOST_COLUMNS = 4
_ALWAYS = ("declined_rightly", "declined_wrongly")
_CELL = 21


@dataclass(frozen=True)
class ScoreTable:
    """
    Scores in rows and columns.

    Attributes:
        columns (`list[str]`): The first names what a row stands for.
        rows (`list[list[str]]`): As many cells each: a label, counts, and scores with their confidence intervals.
        counts (`int`): Columns of counts after the first.
    """

    columns: list[str]
    rows: list[list[str]]
    counts: int = 1

    def __str__(self) -> str:
        lines = [self.columns, *self.rows]
        width = max(len(line[0]) for line in lines)
        counts = self.columns[1 : 1 + self.counts]
        return "\n".join(
            "  ".join(
                [f"{line[0]:<{width}}"]
                + [f"{cell:>{len(name)}}" for name, cell in zip(counts, line[1:], strict=False)]
                + [f"{cell:<{_CELL}}" for cell in line[1 + self.counts :]]
            ).rstrip()
            for line in lines
        )


def format_report(report: EvaluationReport) -> str:
    """
    Format the main scores with their confidence intervals; `report.json` holds all scores.

    Args:
        report ([`EvaluationReport`])
    """
    lines = report_heading(report)
    for table in report_tables(report):
        lines += ["", str(table)]
    return "\n".join(lines)


def report_heading(report: EvaluationReport) -> list[str]:
    """What was evaluated, and how, in two lines."""
    dtype, interval = report.settings["model"]["dtype"], f"[{report.level:.0%} confidence interval]"
    if isinstance(report, LinkingReport):
        return [
            f"{report.task} of {report.model}, mode {report.settings['mode']}",
            f"{', '.join(_linking_facts(report))}, {dtype}; {interval}",
        ]
    where = report.dataset if report.split is None else f"{report.dataset}, split {report.split}"
    passages, k = report.settings["index"]["passages"], report.settings["k"]
    threshold = report.settings.get("answer_threshold")
    below = "" if threshold is None else f", answer threshold {threshold:.3f}"
    return [
        f"{report.task} of {report.model} on {where}",
        f"{passages} passages searched, k={k}{below}, {dtype}; {interval}",
    ]


def report_tables(report: EvaluationReport) -> list[ScoreTable]:
    """The main scores: a table per run, or one of all data sets for entity linking."""
    if isinstance(report, LinkingReport):
        return [_linking_table(report)]
    return [_table("gold passages" if name == GOLD else name, run) for name, run in report.results.items()]


def _linking_facts(report: LinkingReport) -> list[str]:
    index, threshold = report.settings["index"], report.scoring["threshold"]
    facts = [f"{index['passages']} entities" if index else "no catalogue", f"k={report.settings['k']}"]
    if threshold is not None:
        facts.append(f"threshold {threshold:.3f}{' (fitted)' if 'threshold' in report.scoring['fitted'] else ''}")
    if report.scoring["prior_weight"]:
        facts.append(f"prior weight {report.scoring['prior_weight']:.3f}")
    return facts


def _linking_table(report: LinkingReport) -> ScoreTable:
    rows = {name: run.all for name, run in report.results.items()}
    metrics = next(iter(rows.values())).metrics
    columns = _LINKING_COLUMNS if "micro_f1" in metrics else _DETECTION_COLUMNS
    names = [name for name in columns if name in metrics]
    return ScoreTable(
        ["data set", "texts", "mentions", *names],
        [
            [name, str(group.examples), str(group.hops), *(_cell(group, column) for column in names)]
            for name, group in rows.items()
        ],
        counts=2,
    )


def _table(title: str, run: RunResult) -> ScoreTable:
    names = [name for name in _COLUMNS if name in run.all.metrics][:_MOST_COLUMNS]
    names += [name for name in (*_ALWAYS, *COSTS) if name in run.all.metrics]
    rows = [("all", run.all), *run.by_type.items()]
    rows += [(f"hop {hop}", group) for hop, group in run.by_hop.items() if len(run.by_hop) > 1]
    return ScoreTable(
        [title, "examples", *names],
        [[label, str(group.examples), *(_cell(group, name) for name in names)] for label, group in rows],
    )


def _cell(group: GroupResult, name: str) -> str:
    if name not in group.metrics:
        return "-"
    estimate = group.metrics[name]
    if name in COSTS:
        return f"{estimate.value:.0f}" if name == "forwarded_tokens" else f"{estimate.value:.2f}"
    return f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"
