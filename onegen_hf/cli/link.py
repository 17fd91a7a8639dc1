"""`onegen-hf link`: marks the mentions in texts and links them to entities."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from data_builders.entity_linking.kinds import KIND_CHOICES

from ..bundled.checkpoints import DEFAULT_LINKER
from ..checks import checked_fields, choice, flag, integer, list_of, number, optional, text
from ..terminal.characters import printable_json
from ..terminal.options import OptionParser
from .model_arguments import INDEX, ModelArguments
from .page_file import write_page
from .rules import threshold
from .standard_input import lines_of_standard_input, whole_standard_input


@dataclass(kw_only=True)
class LinkArguments(ModelArguments):
    """Options of `onegen-hf link`."""

    renamed: ClassVar[dict[str, str]] = {**ModelArguments.renamed, "threshold": "nil_threshold"}

    index: str | None = field(
        default=None,
        metadata={"help": "Directory or repository of the entity catalogue; default: the model's own."},
    )
    top_k: int = field(default=5, metadata={"help": "Candidates per mention."})
    nil_threshold: float | None = field(
        default=None,
        metadata={"help": "A mention whose best score is lower is NIL; default: the checkpoint's, -inf for none."},
    )
    boundaries: str = field(
        default="word",
        metadata={
            "help": "Where mentions may begin and end; character finds them inside words too.",
            "choices": ["word", "character"],
        },
    )
    mode: str = field(
        default="linking",
        metadata={
            "help": "detection marks mentions without linking them, and needs no index.",
            "choices": ["linking", "detection"],
        },
    )
    decoding: str = field(
        default="constrained",
        metadata={
            "help": "constrained copies the text; free lets the model write it anew.",
            "choices": ["constrained", "free"],
        },
    )
    kinds: list[str] = field(
        default_factory=list,
        metadata={
            "help": "What counts as a mention: names (or of these persons, places, organizations, others), demonyms, "
            "nouns, coreferences, dates, or all; default: what the checkpoint's instruction asks for."
        },
    )
    opening_bias: float | None = field(
        default=None,
        metadata={"help": "Added to the logit of opening a mention, to find more; default: the checkpoint's."},
    )
    num_beams: int = field(default=1, metadata={"help": "Beams of the search."})
    html: str | None = field(default=None, metadata={"help": "Also write an HTML page with the texts and candidates."})
    whole: bool = field(default=False, metadata={"help": "Read standard input as one text, not one text per line."})
    batch_size: int = field(default=8, metadata={"help": "Texts, or windows of a long one, decoded together."})
    json: bool = field(default=False, metadata={"help": "Print one JSON object per text."})

    def __post_init__(self) -> None:
        super().__post_init__()
        checked_fields(
            self,
            index=INDEX,
            top_k=integer(least=1),
            nil_threshold=optional(threshold()),
            boundaries=choice(["word", "character"]),
            mode=choice(["linking", "detection"]),
            decoding=choice(["constrained", "free"]),
            kinds=list_of(choice(KIND_CHOICES), empty=True),
            opening_bias=optional(number()),
            num_beams=integer(least=1),
            html=optional(text()),
            whole=flag(),
            batch_size=integer(least=1),
            json=flag(),
        )

        if self.html is not None and Path(self.html).is_dir():
            raise IsADirectoryError(f"html={self.html!r} is a folder: name a file in it, such as mentions.html")

    def builtin(self) -> Path:
        """The bundled linker."""
        return DEFAULT_LINKER

    def load(self) -> Any:
        """The pipeline."""
        name = self.checkpoint()
        from transformers import pipeline

        return pipeline(
            "onegen-entity-linking",
            model=name,
            index=self.index,
            preset=self.preset,
            mode=self.mode,
            dtype=self.dtype,
            **self.place(),
        )

    def call_options(self) -> dict[str, Any]:
        """Arguments for a call of the pipeline."""
        return {
            "top_k": self.top_k,
            "threshold": self.nil_threshold,
            "boundaries": self.boundaries,
            "decoding": self.decoding,
            "kinds": self.kinds or None,
            "opening_bias": self.opening_bias,
            "num_beams": self.num_beams,
            "batch_size": self.batch_size,
        }


def parser() -> OptionParser:
    """The options of the command."""
    return OptionParser(
        LinkArguments,
        "onegen-hf link",
        "[TEXT ...]",
        "Mark the mentions in texts (arguments, or lines of standard input) and link them to entities.",
    )


def main(arguments: Sequence[str]) -> None:
    """
    Run the command: `onegen-hf link "Ada Moll lives in …" --model …`. Without a text on the command line, it reads
    standard input, one text per line.
    """
    texts, link = parser().parse_with_texts(arguments)
    for place, value in enumerate(texts, start=1):
        text(empty=True)(f"text {place}", value)
    linker = link.load()
    results = []
    for linked_text, mentions in linked(link, linker, texts):
        show(link, linked_text, mentions)
        results.append((linked_text, mentions))
    if link.html is not None:
        from ..linking.display import mention_page

        linked_ids = {mention["entity_id"] for _, of_text in results for mention in of_text if "entity_id" in mention}
        known = {} if linker.index is None else {key: linker.index.get(key) for key in linked_ids}
        descriptions = {key: passage.text for key, passage in known.items() if passage is not None}
        link_token = linker.model.onegen_config.tokens.query
        write_page(link.html, mention_page(results, link_token=link_token, descriptions=descriptions))


def linked(link: LinkArguments, linker: Any, texts: list[str]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Each text with its mentions. On a terminal, each line is linked before the next one is read."""
    if texts or link.whole or not sys.stdin.isatty():
        texts = texts or read_texts(link.whole)
        yield from zip(texts, linker(texts, **link.call_options()), strict=True)
        return
    for line in lines_of_standard_input():
        if line.strip():
            yield line, linker(line, **link.call_options())


def read_texts(whole: bool) -> list[str]:
    """Texts from standard input: all of it, or its lines that are not blank."""
    if whole:
        return [whole_standard_input()]
    return [line for line in lines_of_standard_input() if line.strip()]


def show(link: LinkArguments, text: str, mentions: list[dict[str, Any]]) -> None:
    """Print one result."""
    if link.json:
        print(printable_json(json.dumps({"text": text, "mentions": mentions}, ensure_ascii=False)), flush=True)
        return
    from ..linking.display import format_mentions, wants_color

    print(format_mentions(text, mentions, color=wants_color(sys.stdout)) + "\n", flush=True)
