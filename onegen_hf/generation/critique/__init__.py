"""Self-RAG's critique: each retrieved passage gets a continuation, which the model's reflection tokens judge."""

from .decoder import CritiqueDecoder
from .row import Candidate, CritiqueRow, Segment
from .scores import SegmentScore, score_segment
from .settings import CritiqueSettings

__all__ = [
    "Candidate",
    "CritiqueDecoder",
    "CritiqueRow",
    "CritiqueSettings",
    "Segment",
    "SegmentScore",
    "score_segment",
]
