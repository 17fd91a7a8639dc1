"""`onegen-hf search`: the passages of an index that fit a text."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from ..checks import checked_fields, flag, integer, text
from ..terminal.characters import printable_json
from ..terminal.options import OptionParser
from .display import format_passages
from .model_arguments import ModelArguments
from .search_arguments import SearchOptions
from .standard_input import lines_of_standard_input

if TYPE_CHECKING:
    from ..index.retrieved_passage import RetrievedPassage


@dataclass(kw_only=True)
class SearchArguments(ModelArguments, SearchOptions):
    """Options of `onegen-hf search`."""

    group: ClassVar[str] = "search"

    top_k: int = field(default=5, metadata={"help": "Passages per text."})
    batch_size: int = field(default=32, metadata={"help": "Texts embedded together."})
    json: bool = field(default=False, metadata={"help": "Print one JSON object per text."})

    def __post_init__(self) -> None:
        super().__post_init__()
        SearchOptions.__post_init__(self)
        checked_fields(self, top_k=integer(least=1), batch_size=integer(least=1), json=flag())


def parser() -> OptionParser:
    """The options of the command."""
    return OptionParser(
        SearchArguments,
        "onegen-hf search",
        "[TEXT ...]",
        "Find the passages that fit texts (arguments, or lines of standard input). Nothing is generated.",
    )


def main(arguments: Sequence[str]) -> None:
    """Run the command: `onegen-hf search "Who directed Titanic?" --top-k 3`."""
    texts, options = parser().parse_with_texts(arguments)
    for place, value in enumerate(texts, start=1):
        text()(f"text {place}", value)
    options.checkpoint()
    texts = texts or [line for line in lines_of_standard_input() if line.strip()]
    if not texts:
        return
    for query, passages in zip(texts, search(options, texts), strict=True):
        if options.json:
            result = {"text": query, "passages": passages}
            print(printable_json(json.dumps(result, ensure_ascii=False)), flush=True)
        else:
            print(format_passages(query, passages) + "\n", flush=True)


def search(options: SearchArguments, texts: Sequence[str]) -> list[list[RetrievedPassage]]:
    """The passages for each text, best first, as `index.search_text` gives them; texts are embedded in batches."""
    import torch

    from ..index.fusion import hybrid_settings
    from ..index.retrieved_passage import RetrievedPassage
    from ..pipelines.checkpoint import open_index
    from ..sentence_transformer.module import OneGenModule

    model, tokenizer = options.load_model(), options.load_tokenizer()
    index = open_index(options.index, model, tokenizer)
    encoder = OneGenModule(model, tokenizer)
    wanted = options.passage_filter()
    hybrid, fusion = hybrid_settings(model.onegen_config, index, options.hybrid, options.fusion)
    results: list[list[RetrievedPassage]] = []
    for start in range(0, len(texts), options.batch_size):
        features = encoder.preprocess(texts[start : start + options.batch_size], task="query")
        with torch.inference_mode():
            on_device = {name: value.to(model.device) for name, value in features.items()}
            embeddings = encoder(on_device)["sentence_embedding"]  # (texts, hidden)
        together = texts[start : start + len(embeddings)]
        scores, rows = index.search(embeddings, options.top_k, wanted, hybrid, together, fusion)  # both (texts, k)
        results += [
            [
                RetrievedPassage.of(index[int(row)], float(score))
                for score, row in zip(of_text, places, strict=True)
                if row >= 0
            ]
            for of_text, places in zip(scores, rows, strict=True)
        ]
    return results
