"""Checks the arguments of `from_pretrained`, and explains why a checkpoint on disk cannot be loaded."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers.trainer_utils import get_last_checkpoint
from transformers.utils import CONFIG_NAME, GENERATION_CONFIG_NAME

from ..checks import LoadingError, Rule, source
from .devices import has_fast_bfloat16

logger = logging.getLogger(__name__)

RESTORE_HINT = "save the checkpoint again, or download it with `force_download=True`"
FLOATING = ("float32", "bfloat16", "float16", "float64")


def checked_options(options: dict[str, Any]) -> dict[str, Any]:
    """
    The options of `from_pretrained`, with `use_safetensors=True` unless they set it.

    Args:
        options (`dict[str, Any]`): Its keyword arguments.

    Raises:
        `ValueError`: For an unknown dtype, or one that is not floating-point.
    """
    for name in ("dtype", "torch_dtype"):
        if name in options:
            _check_dtype(name, options[name])
    # `use_safetensors` does not apply to a GGUF file.
    return options if options.get("gguf_file") else {"use_safetensors": True, **options}


def with_fast_dtype(options: dict[str, Any]) -> dict[str, Any]:
    """
    The options with which a pipeline loads a bundled checkpoint: in bfloat16 where the processor is made for it, three
    to six times faster than in float32, unless they name a dtype.

    Args:
        options (`dict[str, Any]`): Keyword arguments of `from_pretrained`.
    """
    named = [options.get(name) for name in ("dtype", "torch_dtype") if options.get(name) not in (None, "auto")]
    if "_from_pipeline" not in options or named or not has_fast_bfloat16():
        return options
    logger.warning(
        "The bundled model runs in bfloat16, for which this processor has instructions. dtype='float32' is slower and "
        "exact."
    )
    return {**options, "dtype": torch.bfloat16}


def _check_dtype(name: str, value: Any) -> None:
    if value is None or value == "auto" or isinstance(value, dict):  # one dtype per submodule
        return
    dtype = getattr(torch, value, None) if isinstance(value, str) else value
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        hint = "; for int8, load in a floating dtype and quantize the model then" if "int" in str(value) else ""
        raise ValueError(f"{name}={value!r} is no dtype of weights: choose one of 'auto', {_listed(FLOATING)}{hint}")


def model_source() -> Rule:
    """The name of a Hub repository, or a directory that exists, but no file in it."""
    directory_or_repository = source()

    def rule(name: str, value: Any) -> str | os.PathLike[str]:
        location: str | os.PathLike[str] = directory_or_repository(name, value)
        if os.path.isfile(location):
            raise ValueError(f"{name}={os.fspath(location)!r} is a file: give the directory that holds it")
        return location

    return rule


@contextmanager
def final_for_pipeline(options: dict[str, Any]) -> Iterator[None]:
    """Let `pipeline` pass an error on instead of loading the checkpoint in another way, see [`LoadingError`]."""
    try:
        yield
    except ValueError as error:
        if "_from_pipeline" in options:
            raise LoadingError(str(error)) from error
        raise


def check_json_files(name_or_path: str | os.PathLike[str]) -> None:
    """
    Check the JSON files of a local checkpoint that transformers ignores if it cannot read them.

    Raises:
        `ValueError`: If generation_config.json is damaged.
    """
    path = Path(name_or_path, GENERATION_CONFIG_NAME)
    if not path.is_file():
        return
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged ({error}): {RESTORE_HINT}") from error


@contextmanager
def broken_config_explained(name_or_path: str | os.PathLike[str]) -> Iterator[None]:
    """Name the file and the remedy if config.json is missing or broken, or names no kind of model."""
    try:
        yield
    except (OSError, ValueError) as error:
        folder = str(name_or_path)
        checkpoint = get_last_checkpoint(folder) if os.path.isdir(folder) else None
        if checkpoint is not None and not os.path.exists(os.path.join(folder, CONFIG_NAME)):
            raise FileNotFoundError(
                f"{folder} has no {CONFIG_NAME}: load {checkpoint}, or save the trained model in the folder itself "
                "with `trainer.save_model()`"
            ) from error
        if "JSON" in str(error) or "model_type" in str(error):
            raise ValueError(
                f"{name_or_path}: config.json is damaged, or not that of a model ({error}): {RESTORE_HINT}"
            ) from error
        raise


@contextmanager
def broken_weights_explained(name_or_path: str | os.PathLike[str], options: dict[str, Any]) -> Iterator[None]:
    """Name the checkpoint and the remedy if its weights are damaged, or only available as a pickle."""
    try:
        yield
    except SafetensorError as error:
        raise ValueError(
            f"{name_or_path}: the weights (*.safetensors) are damaged ({error}): {RESTORE_HINT}"
        ) from error
    except OSError as error:
        if options.get("use_safetensors") is True and "safetensors" in str(error):
            raise OSError(
                f"{name_or_path} has no weights as *.safetensors ({error}). Weights as a pickle (*.bin) are not read "
                "unless you ask for them: pass use_safetensors=False if you trust the checkpoint, or save it again "
                "with `save_pretrained`"
            ) from error
        raise


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(map(repr, names))
