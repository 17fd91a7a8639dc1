"""vLLM as an engine: its scheduler and kernels decode, and sessions receive the passages."""

from typing import TYPE_CHECKING

from ....importing import lazy_exports

if TYPE_CHECKING:
    from .engine import VllmServingEngine as VllmServingEngine

__all__ = ["VllmServingEngine"]

__getattr__, __dir__ = lazy_exports(__name__, {"VllmServingEngine": "onegen_hf.serving.engines.vllm.engine"})
