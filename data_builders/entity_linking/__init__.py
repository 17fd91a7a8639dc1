"""Entity linking: ELEVANT's JSON lines and AIDA-CoNLL's table become annotated texts with linked mentions."""

from data_builders.entity_linking.annotation import annotate, remove_annotation
from data_builders.entity_linking.converter import EntityLinkingConverter

__all__ = ["EntityLinkingConverter", "annotate", "remove_annotation"]
