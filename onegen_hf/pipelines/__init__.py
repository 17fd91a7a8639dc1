"""Pipelines for transformers' `pipeline(...)`; importing this package registers them."""

from ..bundled.checkpoints import DEFAULT_CHECKPOINT, DEFAULT_LINKER
from .entity_linking import OneGenEntityLinkingPipeline
from .rag import OneGenRagPipeline
from .registration import register_pipelines

__all__ = [
    "DEFAULT_CHECKPOINT",
    "DEFAULT_LINKER",
    "OneGenEntityLinkingPipeline",
    "OneGenRagPipeline",
    "register_pipelines",
]

# transformers has no entry points. `import onegen_hf` imports this package as soon as `transformers.pipelines` exists.
register_pipelines()
