"""Registers the tasks with transformers, so that `pipeline("onegen-rag")` works after `import onegen_hf`."""

from __future__ import annotations

from transformers.pipelines import PIPELINE_REGISTRY

from ..modeling.auto import OneGenForCausalLM
from ..presets import DEFAULT_CHECKPOINT, DEFAULT_LINKER
from .entity_linking import OneGenEntityLinkingPipeline
from .rag import OneGenRagPipeline


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
        PIPELINE_REGISTRY.register_pipeline(
            "onegen-entity-linking",
            pipeline_class=OneGenEntityLinkingPipeline,
            pt_model=OneGenForCausalLM,
            default={"model": (str(DEFAULT_LINKER), "main")},
            type="text",
        )
    for pipeline_class in (OneGenRagPipeline, OneGenEntityLinkingPipeline):
        # If it is set, `Pipeline.save_pretrained` also copies our sources and the path of the default checkpoint.
        if "_registered_impl" in vars(pipeline_class):
            del pipeline_class._registered_impl
