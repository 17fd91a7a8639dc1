"""Scores of answers, supporting facts, retrieval and entity linking, as the official evaluations define them.

Every score is a fraction from 0 to 1, also where the official script prints percentages. Each kind is a plain function
on one example or on all of them; `onegen_hf.metrics.modules` holds the same as `evaluate.Metric` classes.
"""

from .anchor_ranks import best_positive_ranks, rank_metrics
from .answers import answer_f1, answer_overlap, exact_match
from .asqa import str_em
from .bootstrap import confidence_interval, mean_ratio_confidence_interval, ratio_confidence_interval
from .citations import CitationScores, CitedSentence, citation_scores, shares_words
from .elevant import elevant_counts
from .entity_linking import average_datasets, document_counts, linking_scores, summarize_counts
from .hotpotqa import hotpotqa_example_scores, hotpotqa_scores
from .normalization import normalize_answer
from .retrieval import hop_scores, mean_ranking_scores, ranking_scores
from .self_rag import accuracy, clean_prediction, closed_answer, match
from .squad import squad_scores, squad_v2_scores
from .supporting_facts import read_supporting_facts, supporting_fact_scores
from .two_wiki import read_aliases, two_wiki_example_scores, two_wiki_scores

__all__ = [
    "CitationScores",
    "CitedSentence",
    "accuracy",
    "answer_f1",
    "answer_overlap",
    "average_datasets",
    "best_positive_ranks",
    "citation_scores",
    "clean_prediction",
    "closed_answer",
    "confidence_interval",
    "document_counts",
    "elevant_counts",
    "exact_match",
    "hop_scores",
    "hotpotqa_example_scores",
    "hotpotqa_scores",
    "linking_scores",
    "match",
    "mean_ranking_scores",
    "mean_ratio_confidence_interval",
    "normalize_answer",
    "rank_metrics",
    "ranking_scores",
    "ratio_confidence_interval",
    "read_aliases",
    "read_supporting_facts",
    "shares_words",
    "squad_scores",
    "squad_v2_scores",
    "str_em",
    "summarize_counts",
    "supporting_fact_scores",
    "two_wiki_example_scores",
    "two_wiki_scores",
]
