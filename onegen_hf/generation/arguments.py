"""Reads the arguments of `generate` for the decoding loops, and rejects by name those they do not support."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers import GenerationConfig

from ..modeling.auto import OneGenForCausalLM
from ..modeling.outputs import CACHE

HONOURED = frozenset({
    # Lengths and ends.
    "max_length", "max_new_tokens", "min_length", "min_new_tokens", "max_time", "stop_strings", "eos_token_id",
    "bos_token_id", "pad_token_id", "forced_bos_token_id", "forced_eos_token_id", "exponential_decay_length_penalty",
    # The choice of a token.
    "do_sample", "temperature", "top_k", "top_p", "min_p", "top_h", "typical_p", "epsilon_cutoff", "eta_cutoff",
    "repetition_penalty", "no_repeat_ngram_size", "bad_words_ids", "renormalize_logits", "remove_invalid_values",
    "suppress_tokens", "begin_suppress_tokens", "sequence_bias", "num_return_sequences",
    # Beam search, if a loop supports it.
    "num_beams", "length_penalty", "early_stopping",
    # Drafts.
    "prompt_lookup_num_tokens", "max_matching_ngram_size",
    # The output.
    "return_dict_in_generate",
    # Records.
    "transformers_version", "use_cache", "is_assistant",
})  # fmt: skip
"""Settings of a `GenerationConfig` that one-pass decoding supports as `generate` documents them."""
HARMLESS_IN_A_CHECKPOINT = frozenset({
    "cache_implementation", "cache_config", "max_cache_len", "prefill_chunk_size", "compile_config", "disable_compile",
    "low_memory", "num_assistant_tokens", "num_assistant_tokens_schedule", "assistant_confidence_threshold",
    "assistant_lookbehind", "target_lookbehind", "token_healing", "decoder_start_token_id", "diversity_penalty",
})  # fmt: skip
"""Settings that a checkpoint may contain: they affect only speed or other decoding methods, never the result."""


NEUTRAL = {"guidance_scale": 1, "penalty_alpha": 0, "num_beam_groups": 1, "encoder_repetition_penalty": 1}
"""Values that turn a setting off."""


def check_supported(
    model: Any, generation_config: GenerationConfig, model_kwargs: dict[str, Any], streamer: Any, batch_size: int
) -> None:
    """
    Check that one-pass decoding supports all requested settings.

    Raises:
        `TypeError`: If `model` returns no retrieval embeddings.
        `ValueError`: For any unsupported setting, a cache that is not empty, or a streamer with several rows.
    """
    if not isinstance(model, OneGenForCausalLM):
        raise TypeError(
            f"one-pass decoding needs a OneGenForCausalLM, got {type(model).__name__}: load the model with "
            "`OneGenForCausalLM.from_pretrained` (and merge adapters)"
        )
    plain: Any = model  # typed as transformers sees it
    # A checkpoint may set it for training; only an explicit request of the caller is an error.
    if generation_config.use_cache is False and plain.generation_config.use_cache is not False:
        raise ValueError("use_cache=False: one-pass decoding lives on the cache. Leave use_cache unset.")
    unset = plain._prepare_generation_config(None)[0]  # with transformers' own defaults filled in
    for name, value in generation_config.to_dict().items():
        if name.startswith("_") or name in HONOURED or value is None or value is False or value == NEUTRAL.get(name):
            continue
        in_checkpoint = getattr(plain.generation_config, name, None)
        if value == in_checkpoint:
            if name in HARMLESS_IN_A_CHECKPOINT:
                continue
            raise ValueError(
                f"{name}={value!r} in the checkpoint's generation_config.json is not supported by one-pass "
                f"decoding: set `model.generation_config.{name} = None`"
            )
        if value != getattr(unset, name, None):
            raise ValueError(f"{name}={value!r} is not supported by one-pass decoding: leave it out")
    vocabulary = plain.config.get_text_config().vocab_size
    for name in ("eos_token_id", "pad_token_id", "forced_bos_token_id", "forced_eos_token_id"):
        ids, of_checkpoint = (_as_list(getattr(each, name)) for each in (generation_config, plain.generation_config))
        beyond = [token for token in ids if token >= vocabulary and token not in of_checkpoint]
        if beyond:
            raise ValueError(
                f"{name}={getattr(generation_config, name)!r} is beyond the vocabulary: {beyond[0]} is not below "
                f"{vocabulary}. Take the id from the tokenizer."
            )
    past = model_kwargs.get(CACHE)
    if past is not None and _is_filled(past):
        raise ValueError(f"{CACHE}: a filled cache cannot be continued here. Pass the whole prompt instead.")
    if streamer is not None and batch_size > 1:
        raise ValueError(f"streamer: only one prompt at a time can be streamed, got {batch_size}")


def _is_filled(cache: Any) -> bool:
    try:
        return bool(cache.get_seq_length() > 0)
    except ValueError:  # a cache of recurrent layers alone, which counts no tokens
        return bool(cache.has_previous_state())


def prompt_ids(input_ids: Tensor, attention_mask: Tensor | None) -> list[list[int]]:
    """
    The prompts without their padding.

    Args:
        input_ids (`Tensor` of shape `(batch, length)`, int64)
        attention_mask (`Tensor` of shape `(batch, length)`, *optional*): 0 at padding; by default there is no padding.

    Returns:
        `list[list[int]]`: The token ids of each row.
    """
    if attention_mask is None:
        return input_ids.tolist()
    return [ids[mask.bool()].tolist() for ids, mask in zip(input_ids, attention_mask, strict=True)]


def end_token_ids(generation_config: GenerationConfig) -> list[int]:
    """The ids that end a text; none if `eos_token_id` is not set."""
    return _as_list(generation_config.eos_token_id)


def _as_list(tokens: Any) -> list[int]:
    """A setting that is nothing, an id or several, as a list."""
    if tokens is None:
        return []
    return [int(token) for token in tokens] if isinstance(tokens, (list, tuple)) else [int(tokens)]


def padding_id(generation_config: GenerationConfig) -> int:
    """`pad_token_id`, else the first end token, else 0. Padding is masked, so any id works."""
    pad_token = generation_config.pad_token_id
    return int(pad_token) if pad_token is not None else next(iter(end_token_ids(generation_config)), 0)
