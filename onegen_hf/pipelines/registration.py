"""Registers the tasks with transformers, so that `pipeline("onegen-rag")` works after `import onegen_hf`."""

from __future__ import annotations

import logging

from transformers.pipelines import PIPELINE_REGISTRY

from ..bundled.checkpoints import BUILTIN, DEFAULT_CHECKPOINT, DEFAULT_LINKER
from ..modeling.auto import OneGenForCausalLM
from .adapter_repositories import read_adapters_like_models
from .entity_linking import OneGenEntityLinkingPipeline
from .rag import OneGenRagPipeline


def _not_our_default(record: logging.LogRecord) -> bool:
    """Whether a line of the log is any but the advice to name a model instead of a bundled one."""
    message = record.getMessage()
    return not (message.startswith("No model was supplied") and any(str(path) in message for path in BUILTIN.values()))


def register_pipelines() -> None:
    """Register `"onegen-rag"` and `"onegen-entity-linking"`; calling it again changes nothing."""
    logging.getLogger("transformers.pipelines").addFilter(_not_our_default)
    read_adapters_like_models()
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
