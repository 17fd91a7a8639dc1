"""`onegen-hf project`: turns a checkpoint's embeddings so that an index can keep fewer numbers of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from ..checks import checked_fields, flag, integer, optional, text
from ..configuration import write_setting
from ..terminal.options import OptionParser
from .model_arguments import ModelArguments


@dataclass(kw_only=True)
class ProjectArguments(ModelArguments):
    """Options of `onegen-hf project`."""

    group: ClassVar[str] = "projection"

    dataset: str = field(metadata={"help": "Dataset repository with the configs `examples` and `documents`."})
    split: str = field(
        default="train", metadata={"help": "Split of the examples: not one that results are reported on."}
    )
    passages_split: str = field(default="train", metadata={"help": "Split of the documents."})
    dim: int | None = field(default=None, metadata={"help": "Numbers that an embedding keeps; default: all."})
    num_passages: int = field(default=2000, metadata={"help": "Passages to embed, positives first."})
    num_examples: int = field(default=1000, metadata={"help": "Examples to embed."})
    batch_size: int = field(default=8, metadata={"help": "Conversations per forward."})
    seed: int = field(default=0, metadata={"help": "Of the draw of passages and examples."})
    save: bool = field(default=False, metadata={"help": "Write the projection into the checkpoint."})

    def __post_init__(self) -> None:
        super().__post_init__()
        checked_fields(
            self,
            dataset=text(),
            split=text(),
            passages_split=text(),
            dim=optional(integer(least=1)),
            num_passages=integer(least=2),
            num_examples=integer(least=2),
            batch_size=integer(least=1),
            seed=integer(least=0),
            save=flag(),
        )


def parser() -> OptionParser:
    """The options of the command."""
    return OptionParser(
        ProjectArguments,
        "onegen-hf project",
        description="Turn embeddings to their principal axes, so that an index can keep the first numbers of each. "
        "Prints the recall of such indexes before and after.",
    )


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    (options,) = parser().parse(arguments)
    checkpoint = options.checkpoint_to_change() if options.save else options.checkpoint()
    from ..data.loading import load_documents, load_examples
    from ..evaluation import fit_projection
    from ..modeling.projection import write_projection

    documents = load_documents(options.dataset, options.passages_split)
    examples = load_examples(options.dataset, options.split)
    fit = fit_projection(
        options.load_model(),
        options.load_tokenizer(),
        documents,
        examples,
        dim=options.dim,
        num_passages=options.num_passages,
        num_examples=options.num_examples,
        batch_size=options.batch_size,
        seed=options.seed,
    )
    print(fit)
    if not options.save:
        print("\nWrite it into the checkpoint with --save")
        return
    write_projection(fit.weight, checkpoint)
    write_setting(checkpoint, "projection_dim", len(fit.weight))
    print(f"\nThe projection is in {checkpoint}; indexes that it made before no longer fit: build them again")
