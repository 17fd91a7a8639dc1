"""`onegen-hf index`: embeds a corpus and saves it as a searchable index."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..files import locked_folder
from ..terminal.options import OptionParser
from .index_arguments import IndexArguments


def parser() -> OptionParser:
    """The options of the command."""
    return OptionParser(
        IndexArguments, "onegen-hf index", description="Embed a corpus and save it as a searchable index."
    )


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    (options,) = parser().parse(arguments)
    options.checkpoint()
    if options.in_database:
        index = _build(options, _documents(options), backend=options.output_dir)
    elif options.shards is not None:
        from .index_shards import index_in_shards, index_on_hub

        if options.on_hub:
            print(index_on_hub(options, options.shards))
            return
        index = index_in_shards(options, options.shards)
    elif options.update:
        from .index_update import update_index

        index = update_index(options)
    else:
        index = build_index(options)
    print(report(options, index))


def report(options: IndexArguments, index: Any) -> str:
    """What was indexed and where it is, and the command that uses it."""
    from ..index.stores import without_password
    from ..tokens import RetrievalTokens

    place = without_password(options.output_dir)
    links = index.fingerprint.facts["query_token"] == RetrievalTokens.entity_linking().query
    command = ["onegen-hf", "link" if links else "ask", '"..."', "--index", shlex.quote(place)]
    for name in ("model", "preset"):
        if (value := getattr(options, name)) is not None:
            command += [f"--{name}", shlex.quote(value)]
    return (
        f"{len(index):,} passages are in {place} ({index.num_rows:,} embeddings of dimension "
        f"{index.dimension})\nNext: {' '.join(command)}"
    )


def build_index(options: IndexArguments) -> Any:
    """Encode a corpus that fits in memory, and save its index."""
    documents = _documents(options)
    with locked_folder(options.output_dir, "indexing"):
        index = _build(
            options, documents, backend=options.backend, checkpoint_dir=Path(options.output_dir) / "encoding"
        )
        index.save(options.output_dir)
    return index


def _documents(options: IndexArguments) -> Any:
    from ..data.loading import load_documents

    # Before the model is loaded, which takes longer.
    return load_documents(options.passages, options.split)


def _build(options: IndexArguments, documents: Any, **place: Any) -> Any:
    """The index, in the place that `backend` and `checkpoint_dir` name."""
    from ..index import PassageIndex

    model = options.load_model()
    return PassageIndex.build(
        model,
        options.load_tokenizer(),
        documents,
        batch_size=options.batch_size,
        factory=options.factory,
        model_id=options.model_name(),
        max_tokens_per_passage=options.piece_tokens(model.onegen_config),
        dimensions=options.dimensions,
        precision=options.precision,
        **place,
    )
