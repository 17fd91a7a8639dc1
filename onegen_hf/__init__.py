"""OneGen for the Hugging Face ecosystem: one language model that generates and retrieves in a single pass."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .importing import after_import, keep_old_paths, lazy_exports

if TYPE_CHECKING:
    from .configuration import OneGenConfig
    from .data.collator import OneGenDataCollator
    from .data.passages import Passage
    from .evaluation import EvaluationReport, evaluate_rag, evaluate_retrieval
    from .index import PassageIndex
    from .modeling.auto import OneGenForCausalLM
    from .modeling.remote_code import BackboneConfig
    from .pipelines import OneGenEntityLinkingPipeline, OneGenRagPipeline, register_pipelines
    from .sentence_transformer import as_sentence_transformer
    from .sentence_transformer.module import OneGenModule
    from .tokens import RetrievalTokens
    from .training.arguments import OneGenTrainingArguments
    from .training.trainer import OneGenTrainer

__version__ = "0.1.0"

__all__ = [
    "BackboneConfig",
    "EvaluationReport",
    "OneGenConfig",
    "OneGenDataCollator",
    "OneGenEntityLinkingPipeline",
    "OneGenForCausalLM",
    "OneGenModule",
    "OneGenRagPipeline",
    "OneGenTrainer",
    "OneGenTrainingArguments",
    "Passage",
    "PassageIndex",
    "RetrievalTokens",
    "as_sentence_transformer",
    "evaluate_rag",
    "evaluate_retrieval",
    "register_pipelines",
]

_lazy, __dir__ = lazy_exports(
    __name__,
    {
        "BackboneConfig": "onegen_hf.modeling.remote_code",
        "EvaluationReport": "onegen_hf.evaluation",
        "OneGenConfig": "onegen_hf.configuration",
        "OneGenDataCollator": "onegen_hf.data.collator",
        "OneGenEntityLinkingPipeline": "onegen_hf.pipelines",
        "OneGenForCausalLM": "onegen_hf.modeling.auto",
        "OneGenModule": "onegen_hf.sentence_transformer.module",
        "OneGenRagPipeline": "onegen_hf.pipelines",
        "OneGenTrainer": "onegen_hf.training.trainer",
        "OneGenTrainingArguments": "onegen_hf.training.arguments",
        "Passage": "onegen_hf.data.passages",
        "PassageIndex": "onegen_hf.index",
        "RetrievalTokens": "onegen_hf.tokens",
        "as_sentence_transformer": "onegen_hf.sentence_transformer",
        "evaluate_rag": "onegen_hf.evaluation",
        "evaluate_retrieval": "onegen_hf.evaluation",
        "register_pipelines": "onegen_hf.pipelines",
    },
)


def __getattr__(name: str) -> Any:
    # Checkpoints and pickles refer to `OneGenLlamaForCausalLM` and the like, which are created on first use.
    if name.startswith("OneGen") and name.endswith(("ForCausalLM", "LMHeadModel")):
        return getattr(importlib.import_module("onegen_hf.modeling.auto"), name)
    return _lazy(name)


# Modules of earlier releases under their old paths. Saved checkpoints refer to the first two.
keep_old_paths(
    {
        f"{__name__}.{old}": f"{__name__}.{new}"
        for old, new in {
            "auto": "modeling",
            "remote_code": "modeling.remote_code",
            "adapters": "modeling",
            "backbones": "modeling.backbones",
            "checkpoint_push": "training.checkpoint_push",
            "collator": "data.collator",
            "corpora": "data.loading",
            "documents": "data.documents",
            "encode": "index.encode",
            "outputs": "modeling.outputs",
            "passages": "data.passages",
            "quantization": "modeling.int8",
            "rendering": "data.chat_rendering",
            "roles": "data.conversations",
            "trainer": "training.trainer",
            "training_args": "training.arguments",
        }.items()
    }
)
after_import("transformers.pipelines", lambda: importlib.import_module("onegen_hf.pipelines"))
