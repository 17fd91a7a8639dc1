"""The options of `onegen-hf calibrate`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from ..checks import checked_fields, flag, integer, number, optional, text
from .model_arguments import INDEX, AnswerArguments


@dataclass(kw_only=True)
class CalibrateArguments(AnswerArguments):
    """Options of `onegen-hf calibrate`."""

    group: ClassVar[str] = "calibration"

    dataset: str = field(metadata={"help": "Dataset repository with the configs `examples` and `documents`."})
    output_dir: str = field(
        metadata={"help": "Directory of the answers; the same command continues an interrupted run."}
    )
    split: str = field(
        default="dev", metadata={"help": "Split of the examples: not one that results are reported on."}
    )
    passages_split: str = field(default="train", metadata={"help": "Split of the documents."})
    index: str | None = field(
        default=None,
        metadata={
            "help": "Directory or Hub repository of the index; default: the model's own if it holds the dataset's "
            "documents, else one built from them."
        },
    )
    decline: float = field(
        default=0.7, metadata={"help": "Smallest share of the unanswerable questions to decline, from 0 to 1."}
    )
    most_loss: float = field(
        default=3.0, metadata={"help": "Most points of F1 (of 100) to lose on the answerable questions."}
    )
    retrieval_frequency: float | None = field(
        default=None,
        metadata={
            "help": "Instead find the threshold of adaptive retrieval with which this share of the questions "
            "retrieves, from 0 to 1."
        },
    )
    save: bool = field(default=False, metadata={"help": "Write the threshold into the checkpoint."})
    limit: int | None = field(default=None, metadata={"help": "Use only the first LIMIT examples."})
    top_k: int = field(default=1, metadata={"help": "Passages per retrieval."})
    batch_size: int = field(default=8, metadata={"help": "Questions decoded together."})

    def __post_init__(self) -> None:
        super().__post_init__()
        checked_fields(
            self,
            dataset=text(),
            output_dir=text(),
            split=text(),
            passages_split=text(),
            index=INDEX,
            decline=number(least=0, most=1),
            most_loss=number(least=0, most=100),
            retrieval_frequency=optional(number(least=0, most=1)),
            save=flag(),
            limit=optional(integer(least=1)),
            top_k=integer(least=1),
            batch_size=integer(least=1),
        )
        if self.retrieval_frequency is not None and (self.retrieval, self.retrieval_threshold) != ("adaptive", None):
            raise ValueError(
                f"retrieval_frequency={self.retrieval_frequency} finds the threshold of adaptive retrieval: leave out "
                f"retrieval={self.retrieval} and retrieval_threshold={self.retrieval_threshold}"
            )
        if self.answer_threshold is not None:
            raise ValueError(f"answer_threshold={self.answer_threshold} is what this command finds: leave it out")
