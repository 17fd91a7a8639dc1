"""What decodes the requests of a server: transformers in this process, or vLLM."""

from typing import TYPE_CHECKING

from ...importing import lazy_exports

if TYPE_CHECKING:
    from .base import Job as Job
    from .base import ServingEngine as ServingEngine
    from .transformers import TransformersServingEngine as TransformersServingEngine
    from .vllm import VllmServingEngine as VllmServingEngine

__all__ = ["Job", "ServingEngine", "TransformersServingEngine", "VllmServingEngine"]

# vLLM's workers import a module below, and need nothing of the others.
__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "Job": "onegen_hf.serving.engines.base",
        "ServingEngine": "onegen_hf.serving.engines.base",
        "TransformersServingEngine": "onegen_hf.serving.engines.transformers",
        "VllmServingEngine": "onegen_hf.serving.engines.vllm.engine",
    },
)
