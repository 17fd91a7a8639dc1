"""Loading tokenizers, and what is known of the tokens that a checkpoint was trained with."""

from __future__ import annotations

import json
import os
from typing import Any

from transformers import (
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from ..bundled.checkpoints import builtin_path
from .loading_options import RESTORE_HINT, model_source

HUB_OPTIONS = ("revision", "cache_dir", "token", "local_files_only", "force_download", "subfolder", "proxies")
"""Arguments of `from_pretrained` that say where in the Hub and the cache to look."""


def _tokens_of_checkpoint(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> set[str]:
    """The tokens with which a checkpoint's own tokenizer was saved: their rows are trained."""
    if not tokenizer.name_or_path or str(tokenizer.name_or_path) != str(model.name_or_path):
        return set()
    return {str(token) for token in tokenizer.init_kwargs.get("added_tokens_decoder", {}).values()}


def _tokenizer_if_any(name_or_path: str | os.PathLike[str], options: dict[str, Any]) -> PreTrainedTokenizerBase | None:
    try:
        return load_tokenizer(name_or_path, **{key: options[key] for key in HUB_OPTIONS if key in options})
    except (OSError, ValueError):
        return None


def load_tokenizer(name_or_path: str | os.PathLike[str], **kwargs: Any) -> PreTrainedTokenizerBase:
    """
    `AutoTokenizer.from_pretrained` or a bundled checkpoint's, with padding on the left and a padding token.

    Raises:
        `FileNotFoundError`: If there is no such directory.
        `ValueError`: If a file of the tokenizer is damaged.
    """
    model_source()("name_or_path", name_or_path)
    try:
        tokenizer = AutoTokenizer.from_pretrained(builtin_path(name_or_path), padding_side="left", **kwargs)
    except Exception as error:
        # The tokenizers library raises a plain Exception.
        if type(error) is not Exception and not isinstance(error, json.JSONDecodeError):
            raise
        raise ValueError(
            f"{name_or_path}: tokenizer.json or tokenizer_config.json is damaged ({error}): {RESTORE_HINT}"
        ) from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer
