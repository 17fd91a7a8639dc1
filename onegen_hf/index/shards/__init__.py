"""Corpora of any size: encoded in shards by any number of workers, and merged into an index."""

from .fetch import fetch_shards
from .hub_runner import encode_shards_on_hub
from .manifest import Manifest
from .merge import merge_shards
from .worker import encode_shards

__all__ = ["Manifest", "encode_shards", "encode_shards_on_hub", "fetch_shards", "merge_shards"]
