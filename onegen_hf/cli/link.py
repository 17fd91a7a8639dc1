"""`onegen-hf link`: texts in, their mentions with entities out."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformers import pipeline

from ..files import write_text_atomically
from ..linking.display import format_mentions, mention_page, wants_color
from ..presets import PRESET_CHOICES
from .texts import texts_and_options


@dataclass
class LinkArguments:
    """
    Arguments of `onegen-hf link`, beside the texts themselves.

    Args:
        model (`str`, *optional*): Directory or Hub repository of a model trained for entity linking; by default the
            one that comes along.
        tokens (`str`, *optional*): Name of a [`preset`], for a checkpoint without an `onegen` section, such as the
            paper's (`"entity-linking-paper"`).
        index (`str`, *optional*): Directory or Hub repository of the entity catalogue; by default the model's own.
        top_k (`int`, *optional*, defaults to 5): Candidates of a mention.
        threshold (`float`, *optional*): A mention whose best score is lower is NIL.
        boundaries (`str`, *optional*, defaults to `"word"`): `"character"` finds mentions inside of words too.
        mode (`str`, *optional*, defaults to `"linking"`): `"detection"` marks mentions without linking them, and needs
            no index.
        decoding (`str`, *optional*, defaults to `"constrained"`): `"free"` lets the model write the text anew.
        num_beams (`int`, *optional*, defaults to 1)
        html (`str`, *optional*): File to write a page to that shows the texts with their mentions and candidates.
        whole (`bool`, *optional*, defaults to `False`): Standard input is one text, not one per line.
        batch_size (`int`, *optional*, defaults to 8): Texts, or windows of a long one, decoded together.
        json (`bool`, *optional*, defaults to `False`): Print one JSON object per text.
        device (`str`, *optional*): Such as `"cpu"` or `"cuda:0"`; by default an accelerator if there is one.
        dtype (`str`, *optional*, defaults to `"auto"`)
    """

    model: str | None = field(default=None, metadata={"help": "Directory or repository; default: the built-in one."})
    tokens: str | None = field(
        default=None,
        metadata={"help": "Preset for a checkpoint without an onegen section.", "choices": PRESET_CHOICES},
    )
    index: str | None = field(default=None, metadata={"help": "Index directory or repository; default: the model's."})
    top_k: int = field(default=5, metadata={"help": "Candidates of a mention."})
    threshold: float | None = field(default=None, metadata={"help": "A mention whose best score is lower is NIL."})
    boundaries: str = field(default="word", metadata={"help": "Where mentions begin and end: word or character."})
    mode: str = field(default="linking", metadata={"help": "linking, or detection: mark mentions only."})
    decoding: str = field(default="constrained", metadata={"help": "constrained: copy the text; free: write it anew."})
    num_beams: int = field(default=1, metadata={"help": "Beams of the search."})
    html: str | None = field(default=None, metadata={"help": "Also write a page that shows texts and candidates."})
    whole: bool = field(default=False, metadata={"help": "Standard input is one text, not one per line."})
    batch_size: int = field(default=8, metadata={"help": "Texts, or windows of a long one, decoded together."})
    json: bool = field(default=False, metadata={"help": "Print one JSON object per text."})
    device: str | None = field(default=None, metadata={"help": "Such as cpu or cuda:0."})
    dtype: str = field(default="auto", metadata={"help": "Such as float32 or bfloat16."})

    def load(self) -> Any:
        """The pipeline."""
        return pipeline(
            "onegen-entity-linking",
            model=self.model,
            index=self.index,
            tokens=self.tokens,
            mode=self.mode,
            device=self.device,
            dtype=self.dtype,
        )

    def call_options(self) -> dict[str, Any]:
        """Arguments of a call of the pipeline."""
        return {
            "top_k": self.top_k,
            "threshold": self.threshold,
            "boundaries": self.boundaries,
            "decoding": self.decoding,
            "num_beams": self.num_beams,
            "batch_size": self.batch_size,
        }


def main(arguments: Sequence[str]) -> None:
    """
    Run the command: `onegen-hf link "Ada Moll lives in …" --model …`, or texts on standard input, one per line.
    """
    texts, link = texts_and_options(LinkArguments, arguments, "onegen-hf link [TEXT ...]")
    linker = link.load()
    results = []
    for text, mentions in linked(link, linker, texts):
        show(link, text, mentions)
        results.append((text, mentions))
    if link.html is not None:
        path = Path(link.html)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text_atomically(path, mention_page(results, link_token=linker.model.onegen_config.tokens.query))
        print(f"The page is in {path}", file=sys.stderr)


def linked(link: LinkArguments, linker: Any, texts: list[str]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Each text with its mentions. On a terminal a text is linked before the next one is read."""
    if texts or link.whole or not sys.stdin.isatty():
        texts = texts or read_texts(link.whole)
        yield from zip(texts, linker(texts, **link.call_options()), strict=True)
        return
    for line in sys.stdin:
        if line.strip():
            yield line.rstrip("\r\n"), linker(line.rstrip("\r\n"), **link.call_options())


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
        print(format_mentions(text, mentions, color=wants_color(sys.stdout)) + "\n", flush=True)
