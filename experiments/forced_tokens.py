"""
What does it save to feed forced tokens together, against the paper's token by token?

```
python -m experiments.forced_tokens
```

Made-up texts are copied with the same mentions marked in both ways: a logits processor makes the choices that a model
is asked for, so that ids are equal and an untrained model will do. The ways take turns, and ratios are taken per text.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList

from benchmarks.report import result_name, write_result
from benchmarks.tiny import tiny_backbone
from data_builders.entity_linking.converter import INSTRUCTION
from experiments import RESULTS
from onegen_hf import OneGenForCausalLM, RetrievalTokens
from onegen_hf.linking import LinkingDecoder, LinkingRow, MentionMarkup
from onegen_hf.modeling.backbones import SMOLLM2, load_backbone

_GIVEN = ("Adalind", "Bertram", "Cosima", "Dietmar", "Eulalia", "Florentin", "Gunhild", "Hieronymus")
_FAMILY = ("Mollenhauer", "Oakengrove", "Vandersloot", "Quillfeather", "Trebizond", "Ashcombe")
_PLACES = ("Fern Bay", "Elmshollow", "Upper Quarrenton", "Lake Osmunda", "Port Verity")
_SENTENCES = (
    "{person} met {other} in {place} on a rainy morning in spring. ",
    "Nobody in {place} had seen {person} since the old bridge was closed. ",
    "It was {person} who wrote the letter, and {other} who carried it over the hills. ",
    "The road to {place} is long, and few people take it in winter. ",
)
Spans = list[tuple[int, int]]


def make_text(generator: random.Random, sentences: int) -> tuple[str, Spans]:
    """A text about people and places that do not exist, and where they are named."""
    text, spans = "", Spans()
    for _ in range(sentences):
        names = {key: f"{generator.choice(_GIVEN)} {generator.choice(_FAMILY)}" for key in ("person", "other")}
        names["place"] = generator.choice(_PLACES)
        for piece in generator.choice(_SENTENCES).split("{"):
            key, closed, rest = piece.partition("}")
            if closed:
                spans.append((len(text), len(text) + len(names[key])))
                text += names[key]
            text += rest if closed else piece
    return text.rstrip(), spans


class WriteIds(LogitsProcessor):
    """Prefers given ids behind the prompt; what is legal decides the decoder."""

    def __init__(self, ids: list[int], prompt_length: int) -> None:
        self.ids = ids
        self.prompt_length = prompt_length

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        scores = scores.clone()
        scores[:, self.ids[input_ids.shape[1] - self.prompt_length]] = 1e9
        return scores


def timed(
    model: Any, markup: MentionMarkup, text: str, spans: Spans, together: bool
) -> tuple[float, float, LinkingRow]:
    """Seconds for a text on the clock and of processor time, which other work does not disturb, and its row."""
    prompt = markup.prompt(text, INSTRUCTION)
    end = int(markup.tokenizer.eos_token_id)  # type: ignore[arg-type]
    ids = [*markup.annotate(text, spans).ids, end]
    start, processor_start = time.perf_counter(), time.process_time()
    output = model.generate(
        torch.tensor([prompt], device=model.device),
        custom_generate=LinkingDecoder(markup, [text], feed_forced_together=together),
        logits_processor=LogitsProcessorList([WriteIds(ids, len(prompt))]),
        max_new_tokens=len(ids),
        eos_token_id=end,
        do_sample=False,
        return_dict_in_generate=True,
    )
    return time.perf_counter() - start, time.process_time() - processor_start, output.rows[0]


def compared(seconds: dict[bool, list[float]]) -> dict[str, Any]:
    """The medians of both ways, and the least, the median and the greatest ratio."""
    ratios = [one / other for one, other in zip(seconds[False], seconds[True], strict=True)]
    return {
        "together": round(statistics.median(seconds[True]), 2),
        "one_by_one": round(statistics.median(seconds[False]), 2),
        "times_as_fast": [round(v, 2) for v in (min(ratios), statistics.median(ratios), max(ratios))],
    }


def main() -> None:
    """Run the measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=3)
    parser.add_argument("--sentences", type=int, default=4)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--quick", action="store_true", help="one short text, a tiny random model")
    options = parser.parse_args()
    if options.quick:
        options.texts, options.sentences = 1, 1
    with tempfile.TemporaryDirectory() as directory:
        source = tiny_backbone(Path(directory)) if options.quick else SMOLLM2
        backbone, tokenizer = load_backbone(source, dtype=options.dtype)
    tokens = RetrievalTokens.entity_linking()
    model = OneGenForCausalLM.from_backbone(backbone, tokenizer, tokens=tokens).to(options.device).eval()
    markup = MentionMarkup(tokenizer, model.onegen_config)  # type: ignore[arg-type]
    generator = random.Random(0)
    timed(model, markup, *make_text(generator, 1), together=True)  # pays for what later texts find ready
    seconds: dict[bool, list[float]] = {True: [], False: []}
    processor_seconds: dict[bool, list[float]] = {True: [], False: []}
    calls: dict[bool, list[int]] = {True: [], False: []}
    generated, forwarded, mentions = [], [], []
    for number in range(options.texts):
        text, spans = make_text(generator, options.sentences)
        rows = {}
        for together in (True, False) if number % 2 else (False, True):
            taken, processor_taken, rows[together] = timed(model, markup, text, spans, together)
            seconds[together].append(taken)
            processor_seconds[together].append(processor_taken)
            calls[together].append(rows[together].usage.forward_calls)
        if rows[True].ids != rows[False].ids or rows[True].spans != spans:
            raise RuntimeError(f"the two ways differ on {text!r}")
        generated.append(rows[True].usage.generated_tokens)
        forwarded.append([rows[way].usage.forwarded_tokens for way in (True, False)])
        mentions.append(len(spans))
    name = result_name("forced_tokens", options.quick)
    write_result(
        RESULTS / f"{name}.json",
        {
            "question": "What does it save to feed forced tokens together?",
            "model": "tiny random" if options.quick else SMOLLM2,
            "dtype": options.dtype,
            "texts": options.texts,
            "mentions_per_text": mentions,
            "generated_tokens": generated,
            "forwarded_tokens": {"together": [f[0] for f in forwarded], "one_by_one": [f[1] for f in forwarded]},
            "forward_calls": {"together": calls[True], "one_by_one": calls[False]},
            "seconds_per_document": compared(seconds),
            "processor_seconds_per_document": compared(processor_seconds),
        },
    )


if __name__ == "__main__":
    main()
