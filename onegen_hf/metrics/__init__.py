"""Scores of answers, supporting facts, retrieval and entity linking, as the official evaluations define them."""

from .bootstrap import confidence_interval, ratio_confidence_interval

__all__ = ["confidence_interval", "ratio_confidence_interval"]
