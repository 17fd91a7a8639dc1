"""Choosing passages by their `meta`: one small language, translated for each engine."""

from .conditions import AllOf, AnyOf, Comparison, Condition, Membership, Negation
from .language import PassageFilter, filter_rule

__all__ = [
    "AllOf",
    "AnyOf",
    "Comparison",
    "Condition",
    "Membership",
    "Negation",
    "PassageFilter",
    "filter_rule",
]
