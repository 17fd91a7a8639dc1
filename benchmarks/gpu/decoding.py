"""
One-pass decoding without retrieval against `generate`, by the number of rows.

- `generate`: transformers' loop with a dynamic cache.
- `static`: the same with a static cache, which is not compiled here.
- `one_pass`: [`OnePassDecoder`].
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch

from benchmarks.gpu.measuring import Budget, in_turns, ratios
from benchmarks.gpu.models import joint_model, tokenizer
from benchmarks.report import spread
from onegen_hf.generation import OnePassDecoder

PROMPT_TOKENS = 48
REPEATS = 2


class NoIndex:
    """An index that must not be searched."""

    num_rows = 0

    def search(self, embeddings: Any, k: int) -> Any:
        """Not called: no query token is written."""
        raise AssertionError("nothing is to be retrieved here")

    def __getitem__(self, row: int) -> Any:
        raise AssertionError("nothing is to be retrieved here")


def decoding(device: str, dtype: torch.dtype, budget: Budget, quick: bool) -> Iterator[tuple[str, Any]]:
    """
    Yields:
        `tuple`: The number of rows and the result.
    """
    model, words = joint_model("tiny" if quick else "135M", device, dtype).eval(), tokenizer()
    tokens = 4 if quick else 16
    query = words.convert_tokens_to_ids(model.onegen_config.tokens.query)
    options: dict[str, Any] = {
        "max_new_tokens": tokens, "min_new_tokens": tokens, "do_sample": False, "pad_token_id": words.pad_token_id,
    }  # fmt: skip
    for rows in (1, 4) if quick else (1, 8, 32, 128):
        if budget.left < 0:
            return
        prompts = torch.randint(5, 1000, (rows, PROMPT_TOKENS), generator=torch.Generator().manual_seed(0)).to(device)
        inputs = {"input_ids": prompts, "attention_mask": torch.ones_like(prompts), **options}
        decoder = OnePassDecoder(NoIndex(), words, model.onegen_config, max_hops=0)
        plain = {"suppress_tokens": [query]}
        kinds: dict[str, Callable[[], Any]] = {
            "generate": partial(model.generate, **inputs, **plain),
            "static": partial(model.generate, **inputs, **plain, cache_implementation="static", disable_compile=True),
            "one_pass": partial(model.generate, **inputs, custom_generate=decoder),
        }
        seconds = in_turns(kinds, REPEATS, device, budget)
        written = {name: kinds[name]()[:, PROMPT_TOKENS:].tolist() for name in ("generate", "one_pass")}
        same = [a == b for a, b in zip(written["generate"], written["one_pass"], strict=True)]
        yield (
            f"{rows} rows",
            {
                "tokens": tokens,
                "ms_per_step": {
                    name: spread([1e3 * value / tokens for value in taken]) for name, taken in seconds.items()
                },
                "one_pass_over_generate": ratios(seconds, "one_pass", "generate"),
                "one_pass_over_static": ratios(seconds, "one_pass", "static"),
                "rows_with_the_same_tokens": f"{sum(same)}/{rows}",
            },
        )
