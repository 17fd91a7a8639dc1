"""One-pass generation: the decoding loop, its cache, when it retrieves, and the record of what was retrieved."""

from .critique import CritiqueDecoder, CritiqueSettings
from .decision_points import DecisionPoints
from .decoder import OnePassDecoder
from .engine import Engine, TransformersEngine
from .policy import AdaptiveRetrieval, AlwaysRetrieval, NeverRetrieval, RetrievalPolicy
from .state import Hit, OnePassOutput, Retrieval, RowState, Usage

__all__ = [
    "AdaptiveRetrieval",
    "AlwaysRetrieval",
    "CritiqueDecoder",
    "CritiqueSettings",
    "DecisionPoints",
    "Engine",
    "Hit",
    "NeverRetrieval",
    "OnePassDecoder",
    "OnePassOutput",
    "Retrieval",
    "RetrievalPolicy",
    "RowState",
    "TransformersEngine",
    "Usage",
]
