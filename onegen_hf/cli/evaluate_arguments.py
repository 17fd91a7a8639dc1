"""The options of `onegen-hf evaluate`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from ..bundled.checkpoints import DEFAULT_CHECKPOINT, DEFAULT_LINKER
from ..checks import checked_fields, choice, flag, integer, list_of, number, optional, path, text
from .critique_arguments import CritiqueArguments
from .model_arguments import INDEX, AnswerArguments
from .reading_arguments import ReadingArguments
from .search_arguments import HybridArguments

DEFAULT_TOP_K = {"rag": 1, "retrieval": 100, "entity-linking": 10}
"""Task → default of `--top-k`."""


@dataclass(kw_only=True)
class EvaluateArguments(AnswerArguments, HybridArguments, ReadingArguments, CritiqueArguments):
    """Options of `onegen-hf evaluate`."""

    group: ClassVar[str] = "evaluation"
    renamed: ClassVar[dict[str, str]] = {
        **AnswerArguments.renamed,
        "data": "dataset",
        "out": "output_dir",
        "k": "top_k",
        "documents_split": "passages_split",
        "level": "confidence_level",
    }

    dataset: list[str] = field(
        metadata={
            "help": "Dataset repository with the configs `examples` and `documents`, or with --index a file of "
            "questions and answers. For entity linking one or more benchmarks, [GROUP=]PATH[:SPLIT]."
        }
    )
    output_dir: str = field(
        metadata={"help": "Directory of the results and the report; the same command continues an interrupted run."}
    )
    index: str | None = field(
        default=None,
        metadata={
            "help": "Directory or Hub repository of the index; default: the model's own if it holds the dataset's "
            "documents, else one built from them. For entity linking the model's own."
        },
    )
    split: str = field(default="dev", metadata={"help": "Split of the examples."})
    passages_split: str = field(default="train", metadata={"help": "Split of the documents."})
    task: str = field(
        default="rag",
        metadata={
            "help": "rag generates answers; retrieval searches with the gold text, one forward per example; "
            "entity-linking links mentions.",
            "choices": list(DEFAULT_TOP_K),
        },
    )
    gold_passages: bool = field(
        default=False, metadata={"help": "Also answer with the gold passages inserted: the upper bound."}
    )
    limit: int | None = field(default=None, metadata={"help": "Evaluate only the first LIMIT examples."})
    top_k: int | None = field(
        default=None,
        metadata={"help": "Passages per retrieval, or candidates per mention; default: 1, 100 or 10, by task."},
    )
    batch_size: int = field(default=8, metadata={"help": "Examples that go through the model together."})
    html: str | None = field(
        default=None,
        metadata={"help": "Also write an HTML page with every failure beside the gold data."},
    )
    confidence_level: float = field(default=0.95, metadata={"help": "Level of the confidence intervals."})

    def __post_init__(self) -> None:
        super().__post_init__()
        HybridArguments.__post_init__(self)
        ReadingArguments.__post_init__(self)
        CritiqueArguments.__post_init__(self)
        checked_fields(
            self,
            dataset=list_of(text()),
            output_dir=path(),
            index=INDEX,
            split=text(),
            passages_split=text(),
            task=choice(DEFAULT_TOP_K),
            gold_passages=flag(),
            limit=optional(integer(least=1)),
            top_k=optional(integer(least=1)),
            batch_size=integer(least=1),
            confidence_level=number(above=0, below=1),
            html=optional(path()),
        )
        if self.task != "entity-linking" and len(self.dataset) != 1:
            raise ValueError(f"dataset={self.dataset}: task={self.task} takes one dataset repository")
        if self.gold_passages and self.task != "rag":
            raise ValueError("gold_passages is for task=rag: retrieval of gold text has no upper bound but 1")
        for name, value in self.reading_options().items():
            if value is not None and self.task != "rag":
                raise ValueError(f"{name}={value} is for task=rag: leave it out")
        if self.hybrid and self.task == "entity-linking":
            raise ValueError(f"hybrid={self.hybrid} is for task=rag and task=retrieval: leave it out")
        if self.critique and (self.task != "rag" or self.gold_passages):
            raise ValueError("critique is for task=rag without gold_passages")
        self.top_k = DEFAULT_TOP_K[self.task] if self.top_k is None else self.top_k

    def builtin(self) -> Path:
        """The bundled checkpoint for this task."""
        return DEFAULT_LINKER if self.task == "entity-linking" else DEFAULT_CHECKPOINT
