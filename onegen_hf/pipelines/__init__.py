"""Pipelines for transformers' `pipeline(...)`; importing this package registers them."""

from .rag import OneGenRagPipeline
from .registration import register_pipelines

__all__ = ["OneGenRagPipeline", "register_pipelines"]
