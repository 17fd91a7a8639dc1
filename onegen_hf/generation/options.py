"""Types and ranges of the arguments of `generate`, which transformers reads as they come or not at all."""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Mapping
from typing import Any

from transformers import GenerationConfig, GenerationMixin

from ..checks import Rule, check, flag, having, instance, integer, list_of, number, shown, text


def _ids(name: str, value: Any) -> Any:
    """A token id, or a list of them."""
    rule = integer(least=0)
    return list_of(rule)(name, value) if isinstance(value, (list, tuple)) else rule(name, value)


def _functions(name: str, value: Any) -> Any:
    """A list of functions; returned as it is, since `LogitsProcessorList` is a list with methods."""
    instance(list, tuple)(name, value)
    for place, item in enumerate(value):
        having("__call__", remedy="an object that can be called, such as a LogitsProcessor")(f"{name}[{place}]", item)
    return value


def _sequence_bias(name: str, value: Any) -> Any:
    """`{(id, ...): bias}`, or a list of `[[id, ...], bias]`."""
    pairs = value.items() if isinstance(value, Mapping) else instance(list, tuple)(name, value)
    for pair in pairs:
        if not isinstance(pair, (list, tuple)) or len(pair) != 2 or not isinstance(pair[0], (list, tuple)):
            raise TypeError(f"{name}: {shown(pair)} must be a list of token ids and its bias, such as [[5, 6], -1.0]")
        list_of(integer(least=0))(f"{name}: ids", list(pair[0]))
        number()(f"{name}: bias", pair[1])
    return value


def _length_penalty(name: str, value: Any) -> Any:
    """A pair of the first index that is penalised, and the factor."""
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        raise TypeError(f"{name}={shown(value)} must be a pair of a start index and a factor, such as (20, 1.1)")
    integer(least=0)(f"{name}[0]", value[0])
    number(above=0)(f"{name}[1]", value[1])
    return value


GENERATION_RULES: dict[str, Rule] = {
    "generation_config": instance(GenerationConfig),
    **dict.fromkeys(
        ("max_new_tokens", "max_length", "num_beams", "num_return_sequences", "prompt_lookup_num_tokens",
         "max_matching_ngram_size"), integer(least=1)
    ),
    **dict.fromkeys(("min_new_tokens", "min_length", "top_k", "no_repeat_ngram_size"), integer(least=0)),
    **dict.fromkeys(("temperature", "repetition_penalty", "max_time"), number(above=0)),
    **dict.fromkeys(
        ("top_p", "min_p", "top_h", "typical_p", "epsilon_cutoff", "eta_cutoff"), number(least=0, most=1)
    ),
    "length_penalty": number(),
    **dict.fromkeys(
        ("do_sample", "use_cache", "renormalize_logits", "remove_invalid_values", "return_dict_in_generate"), flag()
    ),
    **dict.fromkeys(("eos_token_id", "suppress_tokens", "begin_suppress_tokens", "forced_eos_token_id"), _ids),
    **dict.fromkeys(("pad_token_id", "bos_token_id", "forced_bos_token_id"), integer(least=0)),
    "stop_strings": list_of(text(empty=True)),
    "bad_words_ids": list_of(list_of(integer(least=0))),
    "sequence_bias": _sequence_bias,
    "exponential_decay_length_penalty": _length_penalty,
    **dict.fromkeys(("logits_processor", "stopping_criteria"), _functions),
    "streamer": having("put", "end", remedy="a streamer, such as transformers' TextStreamer(tokenizer)"),
    "prefix_allowed_tokens_fn": having("__call__", remedy="a function of a batch number and its ids"),
}  # fmt: skip
"""What an argument of `generate` is held to; one without a rule, or with the value `None`, is not."""
_PARAMETERS = frozenset(inspect.signature(GenerationMixin.generate).parameters) - {"self", "inputs", "kwargs"}
KNOWN = frozenset({*GenerationConfig().to_dict(), *_PARAMETERS, "tokenizer"})
"""Names of all arguments of `generate`."""


def check_generation_options(options: Mapping[str, Any], others: Mapping[str, Rule] | None = None) -> dict[str, Any]:
    """
    Hold the call arguments of a pipeline to their rules, before any text is read.

    Args:
        options (`Mapping[str, Any]`): `None` stands for an argument that is left out.
        others (`Mapping[str, Rule]`, *optional*): Rules of the pipeline's own arguments.

    Returns:
        `dict[str, Any]`: The options that are not `None`, as the rules return them.

    Raises:
        `TypeError` or `ValueError`: Names the argument, its value and what it must be; or if there is no such one.
    """
    rules = {**GENERATION_RULES, **(others or {})}
    known = {*KNOWN, *rules}
    for name, value in options.items():
        if name not in known:
            similar = difflib.get_close_matches(name.lower(), known, n=1)
            remedy = f"did you mean {similar[0]!r}?" if similar else "leave it out"
            raise ValueError(f"{name}={shown(value)} is no argument of this pipeline or of `generate`: {remedy}")
    checked = check({name: value for name, value in options.items() if value is not None}, rules)
    for least, most in (("min_new_tokens", "max_new_tokens"), ("min_length", "max_length")):
        if checked.get(least, 0) > checked.get(most, math.inf):
            raise ValueError(
                f"{least}={checked[least]} is above {most}={checked[most]}: lower the one or raise the other"
            )
    return checked
