"""The model: a mixin over any decoder of transformers, how it is loaded and saved, and what runs its forward."""

from typing import Any

from . import auto
from .adapters import adapter_tokenizer, is_adapter, save_adapter
from .auto import OneGenForCausalLM, load_adapter
from .backbones import load_backbone
from .embed import check_encoder, embed_rows
from .int8 import quantize_for_cpu
from .mixin import OneGenMixin
from .outputs import OneGenOutput
from .positions import context_length
from .tokenizers import load_tokenizer

__all__ = [
    "OneGenForCausalLM",
    "OneGenMixin",
    "OneGenOutput",
    "adapter_tokenizer",
    "check_encoder",
    "context_length",
    "embed_rows",
    "is_adapter",
    "load_adapter",
    "load_backbone",
    "load_tokenizer",
    "quantize_for_cpu",
    "save_adapter",
]


def __getattr__(name: str) -> Any:
    """`OneGenLlamaForCausalLM` and its like, see [`~onegen_hf.modeling.auto`]."""
    return getattr(auto, name)
