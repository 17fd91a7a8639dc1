"""
How fast is one-pass decoding without retrieval, compared with `model.generate`, and what does int8 add?

```
python -m benchmarks.decoding
```

The same weights, prompts and number of new tokens; loops and kinds of weights take turns within each repeat, and
ratios are taken per repeat. `--quick` uses a tiny random model.
"""

from __future__ import annotations

import argparse
import copy
import time
from typing import Any

import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from benchmarks import RESULTS
from benchmarks.plot import Panel, plot_bars
from benchmarks.report import result_name, spread, write_result
from onegen_hf import OneGenForCausalLM
from onegen_hf.generation import OnePassDecoder
from onegen_hf.modeling.int8 import quantize_for_cpu
from onegen_hf.modeling.tokenizers import load_tokenizer
from onegen_hf.pipelines import DEFAULT_CHECKPOINT

PROMPT = "Where was the director of the film that came out first born, and in which year?"
KINDS = ("float32", "bfloat16", "int8")
LOOPS = ("generate", "one_pass")


class NoIndex:
    """An index that must not be searched."""

    def search(self, embeddings: Any, k: int) -> Any:
        raise AssertionError("nothing is to be retrieved here")

    def __getitem__(self, row: int) -> Any:
        raise AssertionError("nothing is to be retrieved here")

    num_rows = 0


def tiny_model(tokenizer: Any) -> Any:
    """A tiny random model, to check the program itself."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    return OneGenForCausalLM.from_backbone(AutoModelForCausalLM.from_config(config), tokenizer).eval()


def timed(model: Any, tokenizer: Any, loop: str, batch_size: int, tokens: int) -> tuple[float, list[list[int]]]:
    """Seconds to write `tokens` tokens in each row, and the ids written."""
    inputs = tokenizer([PROMPT] * batch_size, return_tensors="pt").to(model.device)
    own: dict[str, Any] = {}
    if loop == "one_pass":
        own["custom_generate"] = OnePassDecoder(NoIndex(), tokenizer, model.onegen_config, max_hops=0)
    else:
        own["suppress_tokens"] = [tokenizer.convert_tokens_to_ids(model.onegen_config.tokens.query)]
    start = time.perf_counter()
    ids = model.generate(
        input_ids=inputs["input_ids"],
        attention_mask=inputs["attention_mask"],
        max_new_tokens=tokens,
        min_new_tokens=tokens,
        do_sample=False,
        pad_token_id=tokenizer.pad_token_id,
        **own,
    )
    written = ids[:, inputs["input_ids"].shape[1] :].tolist()  # waits for the device
    return time.perf_counter() - start, written


def main() -> None:
    """Run the measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=str(DEFAULT_CHECKPOINT))
    parser.add_argument("--name", default="decoding", help="of the result file")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--quick", action="store_true", help="a tiny random model, few tokens")
    options = parser.parse_args()
    kinds = KINDS if options.device == "cpu" else KINDS[:2]  # int8 is for the CPU
    tokenizer = load_tokenizer(options.model)
    if options.quick:
        options.batch_sizes, options.tokens, options.repeats = [1, 4], 4, 1
        exact = tiny_model(tokenizer)
    else:
        exact = OneGenForCausalLM.from_pretrained(options.model, dtype=torch.float32).eval()
    models = {"float32": exact.to(options.device), "bfloat16": copy.deepcopy(exact).bfloat16()}
    if "int8" in kinds:
        models["int8"] = quantize_for_cpu(copy.deepcopy(exact))
    result: dict[str, Any] = {}
    for size in options.batch_sizes:
        seconds: dict[tuple[str, str], list[float]] = {(kind, loop): [] for kind in kinds for loop in LOOPS}
        written: dict[tuple[str, str], list[list[int]]] = {}
        for repeat in range(options.repeats + 1):  # the first one warms up
            for kind, loop in seconds:
                taken, written[kind, loop] = timed(models[kind], tokenizer, loop, size, options.tokens)
                if repeat:
                    seconds[kind, loop].append(taken)
        plain = seconds["bfloat16", "generate"]
        result[str(size)] = {
            f"{kind} {loop}": {
                "ms_per_step": spread([1e3 * value / options.tokens for value in own]),
                "times_bfloat16_generate": spread([one / other for one, other in zip(plain, own, strict=True)]),
                "seconds_over_generate": spread(
                    [one / other for one, other in zip(own, seconds[kind, "generate"], strict=True)]
                ),
                "same_tokens_as_generate": written[kind, loop] == written[kind, "generate"],
            }
            for (kind, loop), own in seconds.items()
        }
    name = result_name(options.name, options.quick)
    write_result(
        RESULTS / f"{name}.json",
        {
            "question": "How fast does one-pass decoding write where nothing is retrieved, against model.generate?",
            "model": "tiny random" if options.quick else options.model.rpartition("/")[2],
            "tokens": options.tokens,
            "repeats": options.repeats,
            "batch_sizes": result,
        },
    )
    series = {
        name: {f"batch {size}": rows[name]["ms_per_step"] for size, rows in result.items()}
        for name in next(iter(result.values()))
    }
    plot_bars(RESULTS / f"{name}.svg", Panel("Decoding without retrieval", "rows together", "ms per step", series))


if __name__ == "__main__":
    main()
