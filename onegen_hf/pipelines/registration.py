"""Registers the tasks with transformers, so that `pipeline("onegen-rag")` works after `import onegen_hf`."""

from __future__ import annotations

from pathlib import Path

from transformers.pipelines import PIPELINE_REGISTRY

from ..auto import OneGenForCausalLM
from .rag import OneGenRagPipeline

DEFAULT_CHECKPOINT = Path(__file__).resolve().parents[1] / "default_checkpoint"
"""What `pipeline("onegen-rag")` loads when no model is named: a LoRA adapter and its index, part of the package."""


def register_pipelines() -> None:
    """Register `"onegen-rag"`; calling it again changes nothing."""
    if "onegen-rag" in PIPELINE_REGISTRY.get_supported_tasks():
        return
    PIPELINE_REGISTRY.register_pipeline(
        "onegen-rag",
        pipeline_class=OneGenRagPipeline,
        pt_model=OneGenForCausalLM,
        default={"model": (str(DEFAULT_CHECKPOINT), "main")},
        type="text",
    )
