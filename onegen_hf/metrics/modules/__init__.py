"""The metrics as `evaluate.Metric` classes, to be instantiated directly; the scores are the plain functions'."""

from .answers import AccuracyMetric, MatchMetric, SquadMetric, SquadV2Metric
from .entity_linking import ElevantMetric, EntityLinkingMetric
from .multi_hop import HotpotQAMetric, TwoWikiMetric
from .retrieval import HopRetrievalMetric, RetrievalMetric

__all__ = [
    "AccuracyMetric",
    "ElevantMetric",
    "EntityLinkingMetric",
    "HopRetrievalMetric",
    "HotpotQAMetric",
    "MatchMetric",
    "RetrievalMetric",
    "SquadMetric",
    "SquadV2Metric",
    "TwoWikiMetric",
]
