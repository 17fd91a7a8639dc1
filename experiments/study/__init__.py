"""Training runs that differ in one thing, and what they are measured by."""

from .data import StudyData
from .scores import Scores, score
from .side_by_side import side_by_side
from .training import Setup, load_trained, merged_start, train_variant
from .variant import VARIANTS, Variant

__all__ = [
    "VARIANTS",
    "Scores",
    "Setup",
    "StudyData",
    "Variant",
    "load_trained",
    "merged_start",
    "score",
    "side_by_side",
    "train_variant",
]
