"""`tiny_twin`: a model of the same architecture and settings, small enough to try things out on."""

from __future__ import annotations

import json
import logging
from typing import Any

import torch

from ..configuration import CONFIG_KEY
from .flash_rows import is_flash

logger = logging.getLogger(__name__)

WINDOW = 5
"""Of a twin's sliding-window or chunked layers, if the model has any."""
_SIZES = {
    **dict.fromkeys(("hidden_size", "n_embd", "d_model"), 32),
    **dict.fromkeys(("num_attention_heads", "n_head", "num_heads", "n_heads"), 4),
    **dict.fromkeys(("head_dim", "qk_rope_head_dim", "qk_nope_head_dim", "v_head_dim"), 8),
    **dict.fromkeys(("kv_lora_rank", "q_lora_rank"), 16),
    **dict.fromkeys(("intermediate_size", "ffn_dim", "ffn_hidden_size", "intermediate_size_mlp"), 48),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size", "expert_ffn_hidden_size"), 16),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"), 4),
    **dict.fromkeys(("num_experts_per_tok", "moe_topk", "moe_top_k", "moe_k"), 2),
    **dict.fromkeys(("n_group", "topk_group", "num_expert_group"), 1),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "max_seq_len"), 128),
    "vocab_size": 64,
}
_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
_WINDOWS = ("sliding_window", "attention_chunk_size", "local_attention_window_size", "window_size")
_twins: dict[str, Any] = {}


def tiny_settings(config: Any) -> dict[str, Any]:
    """
    The settings of a configuration with all sizes made small; what kind of layers there are and in which order stays.

    Args:
        config (`PreTrainedConfig`): Of a decoder.
    """
    settings = config.to_dict()
    heads = next((settings[name] for name in ("num_attention_heads", "n_head") if settings.get(name)), None)
    for name, size in _SIZES.items():
        if isinstance(settings.get(name), int) and not isinstance(settings[name], bool):
            settings[name] = min(size, settings[name]) if size < 8 else size
    groups = settings.get("num_key_value_heads")
    if isinstance(groups, int):
        fewer = next((settings[name] for name in ("num_attention_heads", "n_head") if settings.get(name)), 4)
        settings["num_key_value_heads"] = fewer if groups == heads else min(groups, max(fewer // 2, 1))
    kinds = settings.get("layer_types")
    layers = 2 if not kinds else max(kinds.index(kind) for kind in set(kinds)) + 1
    for count in {settings[name] for name in _LAYERS if isinstance(settings.get(name), int)}:
        # `layer_types` is not the only list with an entry for each layer.
        settings |= {name: value[:layers] for name, value in settings.items() if _is_per_layer(value, count)}
    settings |= {name: layers for name in _LAYERS if isinstance(settings.get(name), int)}
    for name in _WINDOWS:
        if isinstance(settings.get(name), int):
            settings[name] = WINDOW
    if isinstance(settings.get("max_window_layers"), int):
        settings["max_window_layers"] = min(settings["max_window_layers"], 1)
    for name in ("pad_token_id", "bos_token_id", "eos_token_id"):
        settings[name] = None
    settings.pop(CONFIG_KEY, None)  # a projection would be larger than the twin
    for name in ("quantization_config", "architectures", "auto_map", "dtype", "torch_dtype"):
        settings.pop(name, None)
    return settings


def _is_per_layer(value: Any, layers: int) -> bool:
    return isinstance(value, (list, tuple)) and len(value) == layers


@torch.no_grad()
def tiny_twin(model: Any) -> Any:
    """
    A model of the same class with two layers or so of a few kilobytes, random weights in float32, on the CPU, in eval
    mode; made once for each architecture and its settings.

    Args:
        model ([`OneGenForCausalLM`])

    Returns:
        [`OneGenForCausalLM`], or `None` where none can be made: its configuration has sizes that are not known here.
    """
    config = model.config.get_text_config()
    implementation = config._attn_implementation
    if is_flash(implementation):  # which runs on GPUs only
        implementation = "sdpa"
    settings = tiny_settings(config)
    key = json.dumps(
        [type(model).__name__, type(config).__name__, implementation, settings], default=str, sort_keys=True
    )
    if key not in _twins:
        state = torch.random.get_rng_state()
        try:
            torch.manual_seed(0)
            small = type(config)(**settings)
            small._attn_implementation = implementation
            twin = type(model)(small).float().eval()
            for name, parameter in twin.named_parameters():
                # Large enough for attention to matter; norms stay as they are.
                if parameter.ndim > 1 and "norm" not in name:
                    parameter.normal_(std=0.15)
            twin(torch.tensor([[3, 4, 5]]))
            _twins[key] = twin
        except Exception as error:  # any architecture may refuse any of these sizes in its own way
            logger.info("no tiny twin of %s (%s: %s)", type(model).__name__, type(error).__name__, error)
            _twins[key] = None
        finally:
            torch.random.set_rng_state(state)
    return _twins[key]
