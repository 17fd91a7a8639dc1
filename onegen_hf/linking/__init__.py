"""Entity linking in one pass: the text is written down again, its mentions are marked, and each is an embedding."""

from .alignment import align_spans
from .boundaries import Boundaries, find_boundaries
from .copying import CopyRule
from .decoder import LinkingDecoder
from .markup import Annotation, MentionMarkup
from .processors import CopyProcessor, LinkContinuationProcessor
from .rewriting import RewriteRule, read_markup
from .state import LinkingOutput, LinkingRow

__all__ = [
    "Annotation",
    "Boundaries",
    "CopyProcessor",
    "CopyRule",
    "LinkContinuationProcessor",
    "LinkingDecoder",
    "LinkingOutput",
    "LinkingRow",
    "MentionMarkup",
    "RewriteRule",
    "align_spans",
    "find_boundaries",
    "read_markup",
]
