"""What the decoding loops read from the arguments of `generate`, and what they refuse."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers import GenerationConfig

from ..modeling.auto import OneGenForCausalLM
from ..modeling.outputs import CACHE


def check_supported(
    model: Any, generation_config: GenerationConfig, model_kwargs: dict[str, Any], streamer: Any, batch_size: int
) -> None:
    """
    Raises:
        `TypeError`: If `model` gives no retrieval embeddings.
        `ValueError`: For settings that one-pass decoding cannot honour: no cache, a cache that was filled
            elsewhere, scores or attentions in the output, guidance and watermarks (which keep a state of their own per
            batch), a streamer with several rows.
    """
    if not isinstance(model, OneGenForCausalLM):
        raise TypeError(
            f"one-pass decoding needs a OneGenForCausalLM, got {type(model).__name__}: load the model with "
            "`OneGenForCausalLM.from_pretrained` (and merge adapters)"
        )
    if generation_config.use_cache is False:
        raise ValueError("use_cache=False: one-pass decoding lives on the cache. Leave use_cache unset.")
    past = model_kwargs.get(CACHE)
    if past is not None and past.get_seq_length() > 0:
        raise ValueError(f"{CACHE}: a filled cache cannot be continued here. Pass the whole prompt instead.")
    for name in ("output_scores", "output_logits", "output_attentions", "output_hidden_states"):
        if getattr(generation_config, name, False):
            raise ValueError(f"{name}=True is not supported by one-pass decoding: rows differ in their steps")
    if generation_config.guidance_scale not in (None, 1) or generation_config.watermarking_config is not None:
        raise ValueError(
            "guidance_scale and watermarking_config are not supported by one-pass decoding: leave them out"
        )
    if streamer is not None and batch_size > 1:
        raise ValueError(f"streamer: only one prompt at a time can be streamed, got {batch_size}")


def prompt_ids(input_ids: Tensor, attention_mask: Tensor | None) -> list[list[int]]:
    """
    The prompts without their padding.

    Args:
        input_ids (`Tensor` of shape `(batch, length)`, int64)
        attention_mask (`Tensor` of shape `(batch, length)`, *optional*): 0 where there is padding; by default none is.

    Returns:
        `list[list[int]]`: The token ids of each row.
    """
    if attention_mask is None:
        return input_ids.tolist()
    return [ids[mask.bool()].tolist() for ids, mask in zip(input_ids, attention_mask, strict=True)]


def end_token_ids(generation_config: GenerationConfig) -> list[int]:
    """The ids that end a text; none if `eos_token_id` is not set."""
    tokens = generation_config.eos_token_id
    if tokens is None:
        return []
    return [int(token) for token in tokens] if isinstance(tokens, (list, tuple)) else [int(tokens)]


def padding_id(generation_config: GenerationConfig) -> int:
    """`pad_token_id`, else the first end token, else 0: any will do, as it is masked."""
    pad_token = generation_config.pad_token_id
    return int(pad_token) if pad_token is not None else next(iter(end_token_ids(generation_config)), 0)
