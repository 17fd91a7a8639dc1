"""`onegen-hf index`: embeds a corpus and saves it as a searchable index."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from ..checks import checked_fields, choice, integer, optional, path, text
from ..files import locked_folder
from ..terminal.options import OptionParser
from .model_arguments import ModelArguments


@dataclass(kw_only=True)
class IndexArguments(ModelArguments):
    """Options of `onegen-hf index`."""

    group: ClassVar[str] = "index"
    renamed: ClassVar[dict[str, str]] = {**ModelArguments.renamed, "corpus": "passages"}

    passages: str = field(metadata={"help": "Dataset repository with the config `documents`, or a file of passages."})
    output_dir: str = field(
        metadata={"help": "Directory of the index; the same command continues an interrupted run."}
    )
    split: str = field(default="train", metadata={"help": "Split of the dataset repository."})
    factory: str = field(default="Flat", metadata={"help": "FAISS factory string: Flat, HNSW32, IVF4096,PQ64np, ..."})
    backend: str = field(
        default="faiss",
        metadata={
            "help": "torch is exact, and searches on the device of the model.",
            "choices": ["faiss", "torch"],
        },
    )
    dimensions: int | None = field(
        default=None,
        metadata={"help": "Keep the first N numbers of each embedding, for models trained with matryoshka_dims."},
    )
    precision: str = field(
        default="float32",
        metadata={"help": "Of the numbers that FAISS keeps.", "choices": ["float32", "float16", "int8"]},
    )
    batch_size: int = field(default=32, metadata={"help": "Passages per batch."})
    max_tokens_per_passage: int | None = field(
        default=None,
        metadata={
            "help": "Split longer passages at the ends of sentences, into pieces with the ids ID#0, ID#1, ...; by "
            "default longer ones are cut to what the model embeds."
        },
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        checked_fields(
            self,
            passages=text(),
            output_dir=path(),
            split=text(),
            factory=text(),
            backend=choice(["faiss", "torch"]),
            dimensions=optional(integer(least=1)),
            precision=choice(["float32", "float16", "int8"]),
            batch_size=integer(least=1),
            max_tokens_per_passage=optional(integer(least=1)),
        )
        for name, default in (("factory", "Flat"), ("precision", "float32")):
            if self.backend != "faiss" and (value := getattr(self, name)) != default:
                raise ValueError(f"{name}={value!r} is for backend='faiss', not for {self.backend!r}: leave it out")


def parser() -> OptionParser:
    """The options of the command."""
    return OptionParser(
        IndexArguments, "onegen-hf index", description="Embed a corpus and save it as a searchable index."
    )


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    (options,) = parser().parse(arguments)
    options.checkpoint()
    from ..data.loading import load_documents

    # Before the model is loaded, which takes longer.
    documents = load_documents(options.passages, options.split)
    from ..index import PassageIndex

    with locked_folder(options.output_dir, "indexing"):
        index = PassageIndex.build(
            options.load_model(),
            options.load_tokenizer(),
            documents,
            batch_size=options.batch_size,
            factory=options.factory,
            checkpoint_dir=Path(options.output_dir) / "encoding",
            model_id=options.model,
            backend=options.backend,
            max_tokens_per_passage=options.max_tokens_per_passage,
            dimensions=options.dimensions,
            precision=options.precision,
        )
        index.save(options.output_dir)
    print(f"{index} saved to {options.output_dir}")
