"""`onegen-hf ask`: questions in, answers with their retrievals out."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from transformers import TextStreamer, pipeline

from ..modeling.int8 import quantize_for_cpu
from ..presets import PRESET_CHOICES
from .display import format_result
from .texts import texts_and_options


@dataclass
class PipelineArguments:
    """
    Which model and index answer, and how.

    Args:
        model (`str`, *optional*): Directory or Hub repository; by default the checkpoint that comes with the package.
        tokens (`str`, *optional*): Name of a [`preset`], for a checkpoint without an `onegen` section, such as the
            paper's (`"multi-hop-paper"`, `"self-rag-paper"`).
        index (`str`, *optional*): Directory or Hub repository of the index; by default the model's own.
        k (`int`, *optional*, defaults to 1): Passages per hop.
        max_hops (`int`, *optional*, defaults to 5)
        max_new_tokens (`int`, *optional*, defaults to 256)
        batch_size (`int`, *optional*, defaults to 8): Questions decoded together.
        device (`str`, *optional*): Such as `"cpu"` or `"cuda:0"`; by default an accelerator if there is one.
        dtype (`str`, *optional*, defaults to `"auto"`)
        int8 (`bool`, *optional*, defaults to `False`): Quantise the linear layers, for speed on a CPU; see
            [`quantize_for_cpu`].
        prompt_lookup_num_tokens (`int`, *optional*): Tokens drafted from the text per forward, for speed where few
            questions are decoded together; see [`OnePassDecoder`].
    """

    model: str | None = field(
        default=None, metadata={"help": "Directory or Hub repository; default: the built-in one."}
    )
    tokens: str | None = field(
        default=None,
        metadata={"help": "Preset for a checkpoint without an onegen section.", "choices": PRESET_CHOICES},
    )
    index: str | None = field(default=None, metadata={"help": "Index directory or repository; default: the model's."})
    k: int = field(default=1, metadata={"help": "Passages per hop."})
    max_hops: int = field(default=5, metadata={"help": "Most retrievals in one answer."})
    max_new_tokens: int = field(default=256, metadata={"help": "Most generated tokens in one answer."})
    batch_size: int = field(default=8, metadata={"help": "Questions decoded together."})
    device: str | None = field(default=None, metadata={"help": "Such as cpu or cuda:0."})
    dtype: str = field(default="auto", metadata={"help": "Such as float32 or bfloat16."})
    int8: bool = field(default=False, metadata={"help": "Quantise the linear layers, for speed on a CPU."})
    prompt_lookup_num_tokens: int | None = field(
        default=None, metadata={"help": "Tokens drafted from the text per forward, for speed; such as 6."}
    )

    def load(self) -> Any:
        """The pipeline."""
        device = "cpu" if self.int8 and self.device is None else self.device
        options = {"index": self.index, "tokens": self.tokens, "device": device, "dtype": self.dtype}
        rag = pipeline("onegen-rag", model=self.model, **options)
        if self.int8:
            quantize_for_cpu(rag.model)
        return rag

    def call_options(self) -> dict[str, Any]:
        """Arguments of a call of the pipeline."""
        options = {"k": self.k, "max_hops": self.max_hops, "max_new_tokens": self.max_new_tokens}
        if self.prompt_lookup_num_tokens is not None:
            options["prompt_lookup_num_tokens"] = self.prompt_lookup_num_tokens
        return options


@dataclass
class AskArguments(PipelineArguments):
    """
    Arguments of `onegen-hf ask`, beside the questions themselves.

    Args:
        json (`bool`, *optional*, defaults to `False`): Print one JSON object per question.
        stream (`bool`, *optional*, defaults to `False`): Print tokens as they come.
    """

    json: bool = field(default=False, metadata={"help": "Print one JSON object per question."})
    stream: bool = field(default=False, metadata={"help": "Print the text as it is generated."})


def main(arguments: Sequence[str]) -> None:
    """
    Run the command: `onegen-hf ask "Where was …?" "Who …?" --k 2`, or questions on standard input, one per line.
    """
    questions, ask = texts_and_options(AskArguments, arguments, "onegen-hf ask [QUESTION ...]")
    rag = ask.load()
    if questions and not ask.stream:
        for question, result in zip(
            questions, rag(questions, batch_size=ask.batch_size, **ask.call_options()), strict=True
        ):
            show(ask, question, result)
        return
    # From standard input every answer comes before the next question is read, so that one can talk to it.
    for question in questions or read_questions():
        streamer = TextStreamer(rag.tokenizer, skip_prompt=True) if ask.stream else None
        show(ask, question, rag(question, streamer=streamer, **ask.call_options()))


def read_questions() -> Iterator[str]:
    """Questions from standard input, with a prompt on a terminal."""
    interactive = sys.stdin.isatty()
    while True:
        if interactive:
            print("? ", end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline()
        if not line:
            return
        if line.strip():
            yield line.strip()


def show(ask: AskArguments, question: str, result: dict[str, Any]) -> None:
    """Print one result."""
    if ask.json:
        print(json.dumps({"question": question, **result}, ensure_ascii=False), flush=True)
    else:
        print(format_result(question, result, sources=ask.k) + "\n", flush=True)
