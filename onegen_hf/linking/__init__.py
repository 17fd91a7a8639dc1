"""Entity linking in one pass: the text is copied, its mentions are marked, and each is an embedding."""

from .boundaries import Boundaries, find_boundaries
from .copying import CopyRule
from .decoder import LinkingDecoder, LinkingOutput, LinkingRow
from .markup import Annotation, MentionMarkup

__all__ = [
    "Annotation",
    "Boundaries",
    "CopyRule",
    "LinkingDecoder",
    "LinkingOutput",
    "LinkingRow",
    "MentionMarkup",
    "find_boundaries",
]
