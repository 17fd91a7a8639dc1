"""LoRA adapters as checkpoints: small files, loaded on their base and merged."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, PeftModel
from transformers import AutoConfig, PreTrainedTokenizerBase
from transformers.utils import CONFIG_NAME

from .auto import OneGenForCausalLM, load_tokenizer
from .backbones import SMOLLM2, load_backbone, packaged_smollm2
from .configuration import OneGenConfig


def save_adapter(
    model: PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    directory: str | os.PathLike[str],
    dtype: torch.dtype | None = None,
) -> None:
    """
    Save an adapter with its tokenizer and the model's config.json, without the embedding matrix.

    PEFT writes no config.json; here it holds the `onegen` section, and lets `pipeline("onegen-rag", model=directory)`
    find the directory complete instead of looking for the base model's config.

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
    card = path / "README.md"
    had_card = card.exists()
    # PEFT would add the whole resized embedding matrix; the new tokens' rows are saved in any case.
    model.save_pretrained(str(path), save_embedding_layers=False, state_dict=state)
    if not had_card:
        card.unlink(missing_ok=True)  # PEFT's is a form that nobody has filled in
    tokenizer.save_pretrained(str(path))
    base = model.get_base_model()
    base.config.save_pretrained(str(path))
    base.describe_as_backbone(path, remote_code=False)


def is_adapter(directory: str | os.PathLike[str]) -> bool:
    """Whether a directory holds a PEFT adapter."""
    return os.path.isfile(os.path.join(directory, "adapter_config.json"))


def load_adapter(
    directory: str | os.PathLike[str], merge: bool = True, is_trainable: bool = False, **kwargs: Any
) -> Any:
    """
    Load an adapter that [`save_adapter`] wrote.

    Args:
        directory (`str` or path)
        merge (`bool`, *optional*, defaults to `True`): Merge into the base and return a plain model; otherwise a
            `PeftModel`.
        is_trainable (`bool`, *optional*, defaults to `False`): Leave the adapter's weights trainable.
        kwargs: Passed to the base's `from_pretrained` (`dtype`, `device_map`, ...).

    Raises:
        `FileNotFoundError`: If config.json is missing.
        `ValueError`: If it has no `onegen` section.
    """
    path = Path(directory)
    if not (path / CONFIG_NAME).is_file():
        raise FileNotFoundError(f"{path} has an adapter but no {CONFIG_NAME}: it was not saved by `save_adapter`")
    settings = OneGenConfig.of(AutoConfig.from_pretrained(path))
    if settings is None:
        raise ValueError(f"{path / CONFIG_NAME} has no 'onegen' section: the adapter was not saved by `save_adapter`")
    name = PeftConfig.from_pretrained(str(path)).base_model_name_or_path
    backbone, _ = load_backbone(name, tokenizer=False, **kwargs)
    base = OneGenForCausalLM.from_backbone(backbone, load_tokenizer(path), onegen_config=settings)
    model = PeftModel.from_pretrained(base, str(path), is_trainable=is_trainable)
    if not merge:
        return model
    merged = model.merge_and_unload()
    # Where a relative `default_index` is looked for, and what an index names as its model.
    merged.name_or_path = str(path)
    merged.other_base_weights = name == SMOLLM2 and packaged_smollm2() is None
    return merged
