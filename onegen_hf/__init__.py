"""OneGen for the Hugging Face ecosystem: one language model that generates and retrieves in a single pass."""

from .auto import OneGenForCausalLM
from .collator import OneGenDataCollator
from .configuration import OneGenConfig
from .evaluation import EvaluationReport, evaluate_rag, evaluate_retrieval
from .index import PassageIndex
from .passages import Passage
from .pipelines import OneGenEntityLinkingPipeline, OneGenRagPipeline, register_pipelines
from .sentence_transformer import as_sentence_transformer
from .tokens import RetrievalTokens
from .trainer import OneGenTrainer
from .training_args import OneGenTrainingArguments

__version__ = "0.1.0"

__all__ = [
    "EvaluationReport",
    "OneGenConfig",
    "OneGenDataCollator",
    "OneGenEntityLinkingPipeline",
    "OneGenForCausalLM",
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

# transformers has no entry points: an import is what makes `pipeline("onegen-rag")` known.
register_pipelines()
