"""`onegen-hf link`: texts in, their mentions with entities out."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from transformers import pipeline
from trl import TrlParser

from .ask import split_questions


@dataclass
class LinkArguments:
    """
    Arguments of `onegen-hf link`, beside the texts themselves.

    Args:
        model (`str`): Directory or Hub repository of a model trained for entity linking.
        index (`str`, *optional*): Directory or Hub repository of the entity catalogue; by default the model's own.
        top_k (`int`, *optional*, defaults to 5): Candidates of a mention.
        threshold (`float`, *optional*): A mention whose best score is lower is NIL.
        boundaries (`str`, *optional*, defaults to `"word"`): `"character"` finds mentions inside of words too.
        whole (`bool`, *optional*, defaults to `False`): Standard input is one text, not one per line.
        batch_size (`int`, *optional*, defaults to 8): Texts, or windows of a long one, decoded together.
        json (`bool`, *optional*, defaults to `False`): Print one JSON object per text.
        device (`str`, *optional*): Such as `"cpu"` or `"cuda:0"`; by default an accelerator if there is one.
        dtype (`str`, *optional*, defaults to `"auto"`)
    """

    model: str = field(metadata={"help": "Directory or Hub repository of a model trained for entity linking."})
    index: str | None = field(default=None, metadata={"help": "Index directory or repository; default: the model's."})
    top_k: int = field(default=5, metadata={"help": "Candidates of a mention."})
    threshold: float | None = field(default=None, metadata={"help": "A mention whose best score is lower is NIL."})
    boundaries: str = field(default="word", metadata={"help": "Where mentions begin and end: word or character."})
    whole: bool = field(default=False, metadata={"help": "Standard input is one text, not one per line."})
    batch_size: int = field(default=8, metadata={"help": "Texts, or windows of a long one, decoded together."})
    json: bool = field(default=False, metadata={"help": "Print one JSON object per text."})
    device: str | None = field(default=None, metadata={"help": "Such as cpu or cuda:0."})
    dtype: str = field(default="auto", metadata={"help": "Such as float32 or bfloat16."})

    def load(self) -> Any:
        """The pipeline."""
        return pipeline(
            "onegen-entity-linking", model=self.model, index=self.index, device=self.device, dtype=self.dtype
        )

    def call_options(self) -> dict[str, Any]:
        """Arguments of a call of the pipeline."""
        return {
            "top_k": self.top_k,
            "threshold": self.threshold,
            "boundaries": self.boundaries,
            "batch_size": self.batch_size,
        }


def main(arguments: Sequence[str]) -> None:
    """
    Run the command: `onegen-hf link "Ada Moll lives in …" --model …`, or texts on standard input, one per line.
    """
    texts, options = split_questions(arguments)
    (link,) = TrlParser(LinkArguments, prog="onegen-hf link [TEXT ...]").parse_args_and_config(options)
    linker = link.load()
    if texts or not sys.stdin.isatty() or link.whole:
        texts = texts or read_texts(link.whole)
        for text, mentions in zip(texts, linker(texts, **link.call_options()), strict=True):
            show(link, text, mentions)
        return
    # On a terminal each text is linked before the next one is read.
    for line in sys.stdin:
        if line.strip():
            show(link, line.rstrip("\r\n"), linker(line.rstrip("\r\n"), **link.call_options()))


def read_texts(whole: bool) -> list[str]:
    """Texts from standard input: all of it, or its lines that are not blank."""
    if whole:
        return [sys.stdin.read()]
    return [line.rstrip("\r\n") for line in sys.stdin if line.strip()]


def show(link: LinkArguments, text: str, mentions: list[dict[str, Any]]) -> None:
    """Print one result."""
    if link.json:
        print(json.dumps({"text": text, "mentions": mentions}, ensure_ascii=False), flush=True)
    else:
        print(format_mentions(text, mentions) + "\n", flush=True)


def format_mentions(text: str, mentions: Sequence[Mapping[str, Any]]) -> str:
    """
    Write a result of the pipeline for people: the text with its mentions in brackets, then a line for each.

    Args:
        text (`str`)
        mentions (`Sequence[Mapping]`): As `pipeline("onegen-entity-linking")` returns them.
    """
    pieces, position = [], 0
    for mention in mentions:
        pieces += [text[position : mention["start"]], f"[{mention['mention']}]"]
        position = mention["end"]
    lines = ["".join([*pieces, text[position:]])]
    for mention in mentions:
        entity = f"{mention['name']} ({mention['entity_id']})" if mention["name"] else mention["entity_id"]
        lines.append(f"  {mention['start']}-{mention['end']}  {mention['mention']}  {mention['score']:.3f}  {entity}")
    return "\n".join(lines if mentions else [*lines, "  no mention"])
