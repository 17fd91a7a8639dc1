"""Pipelines for transformers' `pipeline(...)`; importing this package registers them."""

from .entity_linking import OneGenEntityLinkingPipeline
from .rag import OneGenRagPipeline
from .registration import DEFAULT_CHECKPOINT, DEFAULT_LINKER, register_pipelines

__all__ = [
    "DEFAULT_CHECKPOINT",
    "DEFAULT_LINKER",
    "OneGenEntityLinkingPipeline",
    "OneGenRagPipeline",
    "register_pipelines",
]
