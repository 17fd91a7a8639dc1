"""An evaluation as one self-contained HTML page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...data.passages import Passage
from ...pages import render
from ..examples import EvaluationExample
from ..linking.documents import LinkingDocument
from ..linking.report import LinkingReport
from ..report import EvaluationReport
from ..table import report_heading, report_tables
from . import linking_cases as linking
from .failures import KINDS, Case, cases_of, first_scores
from .histogram import histogram

WORDS = {
    "unit": "examples", "type": "Type of question", "gold": "Gold passage of hop", "retrieved": "Retrieved",
    "retrievals": "retrievals", "axis": "cosine of query and passage",
}  # fmt: skip
LINKING_WORDS = {
    "unit": "mentions", "type": "Data set", "gold": "Gold entity", "retrieved": "Linked",
    "retrievals": "links", "axis": "score of mention and entity",
}  # fmt: skip
"""What the page calls things."""


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
    return _page(report, cases_of(examples, results, passage_of), KINDS, WORDS)


def linking_page(
    report: LinkingReport,
    documents: Mapping[str, Sequence[LinkingDocument]],
    predictions: Mapping[str, Sequence[Sequence[Mapping[str, Any]]]],
    entity_of: Callable[[str], Passage | None],
) -> str:
    """
    The same for entity linking: every mention that was linked to a wrong entity, not found, or found where there is
    none, in its context and with the gold entity beside it.

    Args:
        report ([`LinkingReport`]): Of [`evaluate_entity_linking`].
        documents (`Mapping[str, Sequence[LinkingDocument]]`): By the names of the data sets.
        predictions (`Mapping[str, Sequence[Sequence[Mapping]]]`): Of each document its mentions, as they were written
            to the output directory.
        entity_of (`Callable`): Id → entity, such as [`PassageIndex.get`].

    Returns:
        `str`: HTML 5; write it as UTF-8.
    """
    cases = [
        case
        for name, of_name in documents.items()
        for case in linking.linking_cases(name, of_name, predictions[name], entity_of)
    ]
    return _page(report, cases, linking.KINDS, LINKING_WORDS)


def _page(report: EvaluationReport, cases: Sequence[Case], kinds: Mapping[str, str], words: Mapping[str, str]) -> str:
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
        kinds=[(kind, name, sum(kind in case.kinds for case in failures)) for kind, name in kinds.items()],
        words=words,
        histogram=histogram(*first_scores(cases)),
    )
