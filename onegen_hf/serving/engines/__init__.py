"""What decodes the requests of a server."""

from .base import Job, ServingEngine
from .transformers import TransformersServingEngine

__all__ = ["Job", "ServingEngine", "TransformersServingEngine"]
