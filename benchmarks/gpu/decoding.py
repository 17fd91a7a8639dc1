"""
One-pass decoding without retrieval against `generate`, by the number of rows.

- `generate`: transformers' loop with a dynamic cache.
- `static`: the same with a static cache, which is not compiled here.
- `one_pass`: [`OnePassDecoder`], which records its steps as CUDA graphs.
- `one_pass_eager`: the same without graphs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch

from benchmarks.gpu.measuring import Budget, Measurement, in_turns, ratios
from benchmarks.gpu.models import joint_model, tokenizer
from benchmarks.report import spread
from onegen_hf.generation import OnePassDecoder
from onegen_hf.generation.memory import recorded_step

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


def recording(after: int | None, work: Callable[[], Any]) -> Callable[[], Any]:
    """The same work, in which steps are recorded after so many of one shape; with `None` none is."""

    def run() -> Any:
        before, recorded_step.RECORD_AFTER = recorded_step.RECORD_AFTER, after
        try:
            return work()
        finally:
            recorded_step.RECORD_AFTER = before

    return run


def measure_rows(
    model: Any, words: Any, rows: int, tokens: int, device: str, budget: Budget, all_kinds: bool
) -> dict[str, Any]:
    """
    Time per step, and whether the same tokens were written.

    Args:
        model ([`OneGenForCausalLM`])
        words (`PreTrainedTokenizerBase`)
        rows (`int`), tokens (`int`): How many prompts there are, and tokens to write for each.
        device (`str`)
        budget ([`Budget`])
        all_kinds (`bool`): Also the static cache, and one pass without graphs.
    """
    query = words.convert_tokens_to_ids(model.onegen_config.tokens.query)
    options: dict[str, Any] = {
        "max_new_tokens": tokens, "min_new_tokens": tokens, "do_sample": False, "pad_token_id": words.pad_token_id,
    }  # fmt: skip
    prompts = torch.randint(5, 1000, (rows, PROMPT_TOKENS), generator=torch.Generator().manual_seed(0)).to(device)
    inputs = {"input_ids": prompts, "attention_mask": torch.ones_like(prompts), **options}
    decoder = OnePassDecoder(NoIndex(), words, model.onegen_config, max_hops=0)
    written: dict[str, Any] = {}

    def write(kind: str, **more: Any) -> None:
        written[kind] = model.generate(**inputs, **more)[:, PROMPT_TOKENS:]

    kinds: dict[str, Callable[[], Any]] = {
        "generate": partial(write, "generate", suppress_tokens=[query]),
        "one_pass": recording(2, partial(write, "one_pass", custom_generate=decoder)),
    }
    if all_kinds:
        kinds["static"] = partial(
            write, "static", suppress_tokens=[query], cache_implementation="static", disable_compile=True
        )
        kinds["one_pass_eager"] = recording(None, partial(write, "one_pass_eager", custom_generate=decoder))
    seconds = in_turns(kinds, REPEATS, device, budget)
    same = (written["generate"] == written["one_pass"]).all(dim=1).sum()
    return {
        "tokens": tokens,
        "ms_per_step": {name: spread([1e3 * value / tokens for value in v]) for name, v in seconds.items()},
        "over_generate": {name: ratios(seconds, name, "generate") for name in kinds if name != "generate"},
        "rows_with_the_same_tokens": f"{int(same)}/{rows}",
    }


def decoding(device: str, dtype: torch.dtype, budget: Budget, quick: bool) -> Iterator[Measurement]:
    """
    Yields:
        [`Measurement`]: The number of rows, and the function that measures them.
    """
    model, words = joint_model("tiny" if quick else "135M", device, dtype).eval(), tokenizer()
    for rows in (1, 4) if quick else (1, 8, 32, 128):
        tokens = 6 if quick else 32
        yield f"{rows} rows", partial(measure_rows, model, words, rows, tokens, device, budget, rows in (4, 32))
