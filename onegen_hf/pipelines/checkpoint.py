"""What every pipeline asks of its checkpoint: a OneGen model, the tokenizer that goes with it, and their index."""

from __future__ import annotations

import posixpath
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import torch
from huggingface_hub import snapshot_download

from ..auto import OneGenForCausalLM, class_under, convert
from ..configuration import OneGenConfig
from ..index import PassageIndex
from ..index.storage import DESCRIPTION_FILE, INDEX_FILE, PASSAGES_FILE
from ..origin import access_of
from ..presets import unknown_tokens, with_tokens
from ..quantization import is_quantized_for_cpu
from ..tokens import RetrievalTokens


def prepare_checkpoint(model: Any, tokenizer: Any, tokens: str | RetrievalTokens | OneGenConfig | None = None) -> Any:
    """
    Make sure that model and tokenizer fit; a tokenizer without a padding token gets the end token for it.

    Args:
        model (`PreTrainedModel`): A plain language model becomes a [`OneGenForCausalLM`], in place, if `tokens` are
            given. No weight changes.
        tokenizer (`PreTrainedTokenizerBase`)
        tokens (`str`, [`RetrievalTokens`] or [`OneGenConfig`], *optional*): See [`with_tokens`].

    Returns:
        [`OneGenForCausalLM`]

    Raises:
        `TypeError`: If `model` is a plain language model and there are no `tokens`.
        `ValueError`: If there is no tokenizer, or it lacks the retrieval tokens.
    """
    if tokenizer is None:
        raise ValueError("tokenizer is missing: pass the one that was saved with the model")
    if tokens is not None:
        model = convert(model)
        model.set_onegen_config(with_tokens(model.onegen_config, tokens))
    elif not isinstance(model, OneGenForCausalLM) or OneGenConfig.of(model.config) is None:
        name = getattr(getattr(model, "config", None), "name_or_path", "the model")
        raise TypeError(
            f"model is a {class_under(type(model)).__name__} without retrieval tokens. "
            f"{unknown_tokens(name, tokenizer)}"
        )
    model.check_tokenizer(tokenizer)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return model


def where_it_is(model: Any) -> dict[str, Any]:
    """
    The argument `device` with which a pipeline leaves a model where it is; none for one that accelerate spread over
    several devices, which stays by itself.

    Args:
        model (`PreTrainedModel`)
    """
    return {} if getattr(model, "hf_device_map", None) else {"device": model.device}


def with_device(options: dict[str, Any], model: Any = None, *_: Any) -> dict[str, Any]:
    """
    The arguments of a pipeline, so that a model of [`quantize_for_cpu`] stays on the CPU: left to itself, a pipeline
    takes every model to an accelerator if there is one.

    Args:
        options (`dict`): Named arguments of the pipeline.
        model (`PreTrainedModel`, *optional*): Its first argument.

    Raises:
        `ValueError`: If such a model is to go elsewhere.
    """
    if not is_quantized_for_cpu(options.get("model", model)):
        return options
    device = options.get("device")
    # An integer counts accelerators; below zero it is the CPU.
    if device is not None and (device >= 0 if isinstance(device, int) else torch.device(device).type != "cpu"):
        raise ValueError(f"device={device!r}: the model's layers are int8, which run on the CPU only")
    return {**options, "device": "cpu"}


def open_index(index: Any, model: Any, tokenizer: Any) -> PassageIndex:
    """
    The index to search: the one given, loaded if it is a name, else [`default_index`]. A repository is reached as the
    model's was (with the same token and cache).

    Raises:
        `ValueError`: If there is none, or it is of another model.
    """
    if index is None:
        index = default_index(model)
    opened = index if isinstance(index, PassageIndex) else PassageIndex.load(index, **access_of(model))
    opened.check_model(model, tokenizer)
    return opened


def default_index(model: Any) -> str:
    """
    Where the index of a checkpoint lies: `onegen.default_index`, which with a leading `./` is a folder beside the
    checkpoint's weights (on the Hub too), else a directory or a Hub repository.

    Raises:
        `ValueError`: If the checkpoint names none, or a folder outside of itself; or if one of the Hub names a
            directory of this machine.
    """
    location = model.onegen_config.default_index
    if location is None:
        raise ValueError(
            "index is missing, and the checkpoint names no default one: pass `index=PassageIndex.build(...)`, a "
            "directory or a Hub repository"
        )
    checkpoint = Path(model.name_or_path).resolve()
    if not location.startswith("./"):
        if model.origin and _leads_elsewhere(location):
            raise ValueError(
                f"default_index={location!r} leads out of the repository {model.origin.repository!r}, which can't "
                "know what lies on this machine: pass `index=...`"
            )
        return str(location)
    if not checkpoint.is_dir():  # a Hub repository, of the commit that the model came from
        commit = model.origin.commit if model.origin else None
        wanted = [posixpath.normpath(f"{location}/{name}") for name in (INDEX_FILE, PASSAGES_FILE, DESCRIPTION_FILE)]
        found = snapshot_download(model.name_or_path, revision=commit, allow_patterns=wanted, **access_of(model))
        checkpoint = Path(found).resolve()
    folder = (checkpoint / location).resolve()
    if not folder.is_relative_to(checkpoint):
        raise ValueError(f"default_index={location!r} leads out of the checkpoint {checkpoint}: pass `index=...`")
    return str(folder)


def _leads_elsewhere(location: str) -> bool:
    """Whether it is a path that the name of a repository can't be."""
    paths = (PurePosixPath(location), PureWindowsPath(location))
    return location.startswith("~") or any(path.anchor or ".." in path.parts for path in paths)
