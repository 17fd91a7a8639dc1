"""Registers the tasks with transformers, so that `pipeline("onegen-rag")` works after `import onegen_hf`."""

from __future__ import annotations

from pathlib import Path

from transformers.pipelines import PIPELINE_REGISTRY

from ..auto import OneGenForCausalLM
from .entity_linking import OneGenEntityLinkingPipeline
from .rag import OneGenRagPipeline

DEFAULT_CHECKPOINT = Path(__file__).resolve().parents[1] / "default_checkpoint"
"""What `pipeline("onegen-rag")` loads when no model is named: a LoRA adapter and its index, part of the package."""


def register_pipelines() -> None:
    """Register `"onegen-rag"` and `"onegen-entity-linking"`; calling it again changes nothing."""
    known = PIPELINE_REGISTRY.get_supported_tasks()
    if "onegen-rag" not in known:
        PIPELINE_REGISTRY.register_pipeline(
            "onegen-rag",
            pipeline_class=OneGenRagPipeline,
            pt_model=OneGenForCausalLM,
            default={"model": (str(DEFAULT_CHECKPOINT), "main")},
            type="text",
        )
    if "onegen-entity-linking" not in known:
        # No checkpoint for it comes with the package: a model has to be named.
        PIPELINE_REGISTRY.register_pipeline(
            "onegen-entity-linking",
            pipeline_class=OneGenEntityLinkingPipeline,
            pt_model=OneGenForCausalLM,
            type="text",
        )
