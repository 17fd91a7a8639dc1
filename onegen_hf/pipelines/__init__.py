"""Pipelines for transformers' `pipeline(...)`; importing this package registers them."""

from .rag import OneGenRagPipeline
from .registration import DEFAULT_CHECKPOINT, register_pipelines

__all__ = ["DEFAULT_CHECKPOINT", "OneGenRagPipeline", "register_pipelines"]
