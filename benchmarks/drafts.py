"""
How much faster are answers written with tokens drafted from the text (prompt lookup) than by `model.generate`?

```
python -m benchmarks.drafts
```

The checkpoint answers demo questions; what it wrote before and after each inserted passage is then written again by
all contenders, from the same preceding text. The time after the first forward, which reads that text, is measured.
Contenders take turns within each repeat, and ratios are taken per repeat over all pieces. `--quick` uses one piece.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import pipeline

import onegen_hf  # noqa: F401  (registers the pipeline)
from benchmarks import RESULTS
from benchmarks.decoding import NoIndex
from benchmarks.plot import Panel, plot_bars
from benchmarks.report import result_name, spread, write_result
from onegen_hf.cli.demo import demo_questions
from onegen_hf.generation import OnePassDecoder
from onegen_hf.generation.state import RowState
from onegen_hf.modeling.int8 import quantize_for_cpu

BASELINE = "generate, bfloat16"


@dataclass(frozen=True)
class Contender:
    """
    Args:
        dtype (`str`): Of the weights.
        one_pass (`bool`): Our loop, or that of transformers.
        drafts (`int`, *optional*, defaults to 0): Tokens drafted per forward.
    """

    dtype: str
    one_pass: bool
    drafts: int = 0

    @property
    def name(self) -> str:
        """The label in the result."""
        loop = "one pass" if self.one_pass else "generate"
        return f"{loop}, {self.dtype}{f', {self.drafts} drafts' if self.drafts else ''}"


@dataclass(frozen=True)
class Piece:
    """What was written between two insertions, and all ids before it."""

    before: list[int]
    written: list[int]


@dataclass
class Writing:
    """Seconds, forwards and tokens after the first forward, and the ids written."""

    seconds: float
    forwards: int
    tokens: int
    ids: list[int]


def pieces_of(row: RowState) -> list[Piece]:
    """The pieces of an answer, each with the query token that ends it."""
    return [Piece(row.ids[:start], row.ids[start : stop + 1]) for start, stop in row.written_spans()]


def write(model: Any, tokenizer: Any, contender: Contender, piece: Piece) -> Writing:
    """Write a piece again, to its end: the query token, or the end of the text."""
    ends: list[float] = []
    hook = model.register_forward_hook(lambda *_: ends.append(time.perf_counter()))
    query = tokenizer.convert_tokens_to_ids(model.onegen_config.tokens.query)
    options: dict[str, Any] = {"prompt_lookup_num_tokens": contender.drafts} if contender.drafts else {}
    if contender.one_pass:
        options["custom_generate"] = OnePassDecoder(NoIndex(), tokenizer, model.onegen_config)
    ids = torch.tensor([piece.before])
    try:
        written = model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=len(piece.written) + 8, do_sample=False,
            eos_token_id=[query, tokenizer.eos_token_id], pad_token_id=tokenizer.pad_token_id, **options,
        )[0, len(piece.before) :].tolist()  # fmt: skip
    finally:
        hook.remove()
    return Writing(time.perf_counter() - ends[0], len(ends) - 1, len(written) - 1, written)


def compare(
    models: dict[str, Any], tokenizer: Any, contenders: Sequence[Contender], pieces: Sequence[Piece], repeats: int
) -> dict[str, Any]:
    """Let all contenders write all pieces, in turns."""
    for contender in contenders:  # the first call pays for what later ones find ready
        write(models[contender.dtype], tokenizer, contender, pieces[0])
    ms: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    facts: dict[str, dict[str, Any]] = {}
    for _ in range(repeats):
        written: dict[str, list[Writing]] = {name: [] for name in ms}
        for piece in pieces:
            for contender in contenders:
                written[contender.name].append(write(models[contender.dtype], tokenizer, contender, piece))
        for name, own in written.items():
            tokens = sum(one.tokens for one in own)
            ms[name].append(1e3 * sum(one.seconds for one in own) / tokens)
            same = sum(one.ids == piece.written for one, piece in zip(own, pieces, strict=True))
            facts[name] = {
                "tokens_per_forward": round(tokens / sum(one.forwards for one in own), 3),
                "same_pieces": same / len(pieces),
            }
    return {
        name: {
            "ms_per_token": spread(own),
            "times_as_fast_as_the_baseline": spread(
                [one / other for one, other in zip(ms[BASELINE], own, strict=True)]
            ),
            **facts[name],
        }
        for name, own in ms.items()
    }


def main() -> None:
    """Run the measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a checkpoint with an index; by default the built-in one")
    parser.add_argument("--questions", type=int, default=6)
    parser.add_argument("--drafts", type=int, nargs="+", default=[4, 6])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one piece of one question")
    options = parser.parse_args()
    if options.quick:
        options.questions, options.drafts, options.repeats = 1, [4], 1
    rag = pipeline("onegen-rag", model=options.model, dtype="float32", device="cpu")
    decoder = OnePassDecoder(rag.index, rag.tokenizer, rag.model.onegen_config)
    pieces: list[Piece] = []
    for question in demo_questions()[: options.questions]:
        prompt = rag.preprocess(question)["prompt"]
        pieces += pieces_of(rag.engine.answer([prompt], decoder, max_new_tokens=192, do_sample=False)[0])
    if options.quick:
        del pieces[1:]
    models = {
        "float32": rag.model,
        "bfloat16": copy.deepcopy(rag.model).bfloat16(),
        "int8": quantize_for_cpu(copy.deepcopy(rag.model)),
    }
    contenders = [
        Contender("bfloat16", one_pass=False),
        *(Contender(dtype, True, drafts) for dtype in ("float32", "int8") for drafts in (0, *options.drafts)),
    ]
    result = compare(models, rag.tokenizer, contenders, pieces, options.repeats)
    name = result_name("drafts", options.quick)
    write_result(
        RESULTS / f"{name}.json",
        {
            "question": "How fast are answers written when tokens are drafted from the text, against model.generate?",
            "questions": options.questions,
            "pieces": len(pieces),
            "written_tokens": sum(len(piece.written) for piece in pieces),
            "repeats": options.repeats,
            "contenders": result,
        },
    )
    bars = {label: {"": own["ms_per_token"]} for label, own in result.items()}
    plot_bars(RESULTS / f"{name}.svg", Panel("Writing answers, one question at a time", "", "ms per token", bars))


if __name__ == "__main__":
    main()
