"""Corpora of any size: encoded in shards by any number of workers, and merged into an index."""

from .manifest import Manifest
from .merge import merge_shards
from .worker import encode_shards

__all__ = ["Manifest", "encode_shards", "merge_shards"]
