"""The passage index: embeddings of a corpus, a way to search them, the passages, and whose model made them."""

from ..filters import PassageFilter
from .backends import FaissBackend, TorchBackend, VectorBackend
from .embeddings_file import read_embeddings
from .fingerprint import ModelFingerprint
from .passage_index import PassageIndex
from .retriever import Retriever
from .shards import encode_shards, encode_shards_on_hub, fetch_shards, merge_shards
from .stores import StoreError

__all__ = [
    "FaissBackend",
    "ModelFingerprint",
    "PassageFilter",
    "PassageIndex",
    "Retriever",
    "StoreError",
    "TorchBackend",
    "VectorBackend",
    "encode_shards",
    "encode_shards_on_hub",
    "fetch_shards",
    "merge_shards",
    "read_embeddings",
]
