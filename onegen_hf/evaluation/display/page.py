"""An evaluation as one self-contained HTML page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...data.passages import Passage
from ...pages import render
from ..examples import EvaluationExample
from ..report import EvaluationReport
from ..table import report_heading, report_tables
from .failures import KINDS, cases_of, first_scores
from .histogram import histogram


def evaluation_page(
    report: EvaluationReport,
    examples: Sequence[EvaluationExample],
    results: Sequence[Mapping[str, Any]],
    passage_of: Callable[[str], Passage | None],
) -> str:
    """
    Show the scores, every failure with the gold data beside it (filtered by type of question and kind of failure
    without a script), and a histogram of the scores of right and wrong retrievals. All content is escaped.

    Args:
        report ([`EvaluationReport`]): Of [`evaluate_rag`] or [`evaluate_retrieval`].
        examples (`Sequence[EvaluationExample]`): What was evaluated.
        results (`Sequence[Mapping]`): One per example, as they were written to the output directory.
        passage_of (`Callable`): Id → passage, such as [`PassageIndex.get`].

    Returns:
        `str`: HTML 5; write it as UTF-8.
    """
    cases = cases_of(examples, results, passage_of)
    failures = [case for case in cases if case.kinds]
    title, settings = report_heading(report)
    groups = Counter(case.group for case in failures)
    return render(
        __package__ or "",
        "evaluation.html.jinja",
        title,
        settings=settings,
        tables=report_tables(report),
        examples=len(cases),
        failures=failures,
        groups=sorted(groups.items()),
        group_ids={group: f"g{place}" for place, group in enumerate(sorted(groups))},
        kinds=[(kind, name, sum(kind in case.kinds for case in failures)) for kind, name in KINDS.items()],
        histogram=histogram(*first_scores(cases)),
    )
