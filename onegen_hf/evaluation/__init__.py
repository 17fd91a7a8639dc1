"""Evaluation of a model with an index on examples: resumable runs, official metrics, confidence intervals."""

from .answer_threshold import Declining, ScoredAnswers, fit_answer_threshold
from .calibrate import AnswerCalibration, calibrate_answers
from .gold_decoder import GoldPassageDecoder
from .linking.documents import load_linking_rows
from .linking.evaluate import evaluate_entity_linking
from .linking.opening_bias import OpeningBias, fit_opening_bias
from .linking.report import LinkingReport
from .projection import PrefixRecall, ProjectionFit, fit_projection
from .rag import evaluate_rag
from .report import Estimate, EvaluationReport, GroupResult, RunResult
from .retrieval import evaluate_retrieval
from .retrieval_calibration import RetrievalCalibration, calibrate_retrieval
from .retrieval_threshold import RetrievalFrequency, fit_retrieval_threshold
from .table import format_report

__all__ = [
    "AnswerCalibration",
    "Declining",
    "Estimate",
    "EvaluationReport",
    "GoldPassageDecoder",
    "GroupResult",
    "LinkingReport",
    "OpeningBias",
    "PrefixRecall",
    "ProjectionFit",
    "RetrievalCalibration",
    "RetrievalFrequency",
    "RunResult",
    "ScoredAnswers",
    "calibrate_answers",
    "calibrate_retrieval",
    "evaluate_entity_linking",
    "evaluate_rag",
    "evaluate_retrieval",
    "fit_answer_threshold",
    "fit_opening_bias",
    "fit_projection",
    "fit_retrieval_threshold",
    "format_report",
    "load_linking_rows",
]
