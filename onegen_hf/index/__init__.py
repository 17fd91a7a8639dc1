"""The passage index: embeddings of a corpus, a way to search them, the passages, and whose model made them."""

from .embeddings_file import read_embeddings
from .fingerprint import ModelFingerprint
from .passage_index import PassageIndex

__all__ = ["ModelFingerprint", "PassageIndex", "read_embeddings"]
