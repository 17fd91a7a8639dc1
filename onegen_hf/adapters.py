"""LoRA adapters as checkpoints: small files, loaded on their base and merged."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, PeftModel
from transformers import PreTrainedTokenizerBase

from .auto import OneGenForCausalLM, load_tokenizer, write_atomically
from .backbones import load_backbone
from .configuration import OneGenConfig

SETTINGS_FILE = "onegen.json"
"""Holds the `onegen` section beside an adapter, which has no config.json of its own."""


def save_adapter(
    model: PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    directory: str | os.PathLike[str],
    dtype: torch.dtype | None = None,
) -> None:
    """
    Save an adapter with its tokenizer and the `onegen` settings, without the embedding matrix.

    Args:
        model (`PeftModel`): Over a [`OneGenForCausalLM`].
        tokenizer (`PreTrainedTokenizerBase`)
        directory (`str` or path)
        dtype (`torch.dtype`, *optional*): Store the adapter's weights in this dtype instead of their own.
    """
    path = Path(directory)
    state = None
    if dtype is not None:
        state = {
            name: value.to(dtype) if value.is_floating_point() else value for name, value in model.state_dict().items()
        }
    # PEFT would add the whole resized embedding matrix; the new tokens' rows are saved in any case.
    model.save_pretrained(str(path), save_embedding_layers=False, state_dict=state)
    tokenizer.save_pretrained(str(path))
    settings = model.get_base_model().onegen_config.to_dict()
    write_atomically(path / SETTINGS_FILE, json.dumps(settings, indent=2, sort_keys=True) + "\n")


def load_adapter(directory: str | os.PathLike[str], merge: bool = True, **kwargs: Any) -> Any:
    """
    Load an adapter that [`save_adapter`] wrote.

    Args:
        directory (`str` or path)
        merge (`bool`, *optional*, defaults to `True`): Merge into the base and return a plain model; otherwise a
            `PeftModel`.
        kwargs: Passed to the base's `from_pretrained` (`dtype`, `device_map`, ...).

    Raises:
        `FileNotFoundError`: If the `onegen` settings are missing.
    """
    path = Path(directory)
    if not (path / SETTINGS_FILE).is_file():
        raise FileNotFoundError(f"{path} has an adapter but no {SETTINGS_FILE}: it was not saved by `save_adapter`")
    settings = OneGenConfig.from_dict(json.loads((path / SETTINGS_FILE).read_text(encoding="utf-8")))
    name = PeftConfig.from_pretrained(str(path)).base_model_name_or_path
    backbone, _ = load_backbone(name, tokenizer=False, **kwargs)
    base = OneGenForCausalLM.from_backbone(backbone, load_tokenizer(path), onegen_config=settings)
    model = PeftModel.from_pretrained(base, str(path))
    return model.merge_and_unload() if merge else model
