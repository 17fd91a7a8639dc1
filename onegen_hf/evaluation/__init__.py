"""Evaluation of a model with an index on examples: resumable runs, official metrics, confidence intervals."""

from .gold_decoder import GoldPassageDecoder
from .linking.documents import load_linking_rows
from .linking.evaluate import evaluate_entity_linking
from .linking.report import LinkingReport
from .rag import evaluate_rag
from .report import Estimate, EvaluationReport, GroupResult, RunResult
from .retrieval import evaluate_retrieval
from .table import format_report

__all__ = [
    "Estimate",
    "EvaluationReport",
    "GoldPassageDecoder",
    "GroupResult",
    "LinkingReport",
    "RunResult",
    "evaluate_entity_linking",
    "evaluate_rag",
    "evaluate_retrieval",
    "format_report",
    "load_linking_rows",
]
