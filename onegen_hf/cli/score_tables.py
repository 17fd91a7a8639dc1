"""The scores of an evaluation: tables on a terminal, plain text elsewhere."""

from __future__ import annotations

import sys

from ..evaluation import EvaluationReport, format_report
from ..evaluation.table import ScoreTable, report_heading, report_tables


def print_report(report: EvaluationReport) -> None:
    """Print the main scores of a report with their confidence intervals."""
    if not sys.stdout.isatty():
        print(format_report(report))
        return
    from rich.console import Console

    console = Console(highlight=False)
    title, settings = report_heading(report)
    console.print(title, style="bold", markup=False)
    console.print(settings, style="dim", markup=False)
    for table in report_tables(report):
        console.print(rich_table(table))


def rich_table(table: ScoreTable) -> object:
    """A table with the scores aligned and the row of all examples in bold."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    made = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for place, name in enumerate(table.columns):
        made.add_column(Text(name), justify="right" if 0 < place <= table.counts else "left")
    for row in table.rows:
        made.add_row(*map(Text, row), style="bold" if row[0] == "all" else "")
    return made
