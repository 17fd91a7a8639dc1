"""One-pass generation: the decoding loop, its cache, and the record of what was retrieved."""

from .decoder import OnePassDecoder
from .state import Hit, OnePassOutput, Retrieval, RowState, Usage

__all__ = ["Hit", "OnePassDecoder", "OnePassOutput", "Retrieval", "RowState", "Usage"]
