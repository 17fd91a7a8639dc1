"""`upcycle`: a dense Llama as a mixture of experts that computes the same."""

from __future__ import annotations

from typing import Any

import torch
from transformers import LlamaForCausalLM, MixtralConfig, MixtralForCausalLM

EXPERTS_PER_TOKEN = 2


@torch.no_grad()
def upcycle(dense: Any, experts: int, seed: int = 0) -> Any:
    """
    Copy each feed-forward layer into so many experts (sparse upcycling, arXiv 2212.05055). The weights of a token's
    experts sum to 1, so nothing changes until training makes the copies differ; the router starts at random.

    Args:
        dense (`LlamaForCausalLM`): Without biases, its rotary embedding of the default kind.
        experts (`int`): At least 2.
        seed (`int`, *optional*, defaults to 0): Of the router.

    Returns:
        `MixtralForCausalLM`, of the same dtype.

    Raises:
        `TypeError`: If `dense` is of another architecture.
        `ValueError`: If there are fewer experts than a token uses.
    """
    if type(dense) is not LlamaForCausalLM:
        raise TypeError(f"dense is a {type(dense).__name__}: only a LlamaForCausalLM can be upcycled")
    if experts < EXPERTS_PER_TOKEN:
        raise ValueError(f"experts={experts} must be at least {EXPERTS_PER_TOKEN}, which a token uses")
    known = dense.config.to_dict()
    kept = {name: known[name] for name in MixtralConfig().to_dict() if name in known and name != "model_type"}
    kept |= {"architectures": None, "sliding_window": None, "router_jitter_noise": 0.0}
    config = MixtralConfig(**kept | {"num_local_experts": experts, "num_experts_per_tok": EXPERTS_PER_TOKEN})
    torch.manual_seed(seed)
    sparse = MixtralForCausalLM(config).to(dense.dtype)
    sparse.load_state_dict(
        {name: tensor for name, tensor in dense.state_dict().items() if ".mlp." not in name}, strict=False
    )
    for own, other in zip(sparse.model.layers, dense.model.layers, strict=True):
        both = torch.cat([other.mlp.gate_proj.weight, other.mlp.up_proj.weight])
        own.mlp.experts.gate_up_proj.copy_(both.expand_as(own.mlp.experts.gate_up_proj))
        own.mlp.experts.down_proj.copy_(other.mlp.down_proj.weight.expand_as(own.mlp.experts.down_proj))
        own.mlp.gate.weight.normal_(std=config.initializer_range)
    sparse.generation_config = dense.generation_config
    return sparse.eval()
