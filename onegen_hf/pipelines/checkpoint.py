"""Prepares a checkpoint for a pipeline: a OneGen model, its tokenizer and its index."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from ..checks import instance, optional, shown, source
from ..configuration import OneGenConfig
from ..hub.origin import access_of
from ..index import PassageIndex
from ..modeling.auto import OneGenForCausalLM, backbone_class_of, convert
from ..modeling.default_index import default_index
from ..modeling.int8 import is_quantized_for_cpu
from ..modeling.wrapped import refuse_wrapped
from ..presets import unknown_tokens, with_preset
from ..tokens import RetrievalTokens


def prepare_checkpoint(model: Any, tokenizer: Any, preset: str | RetrievalTokens | OneGenConfig | None = None) -> Any:
    """
    Check that model and tokenizer match. A tokenizer without a padding token gets the end token as one.

    Args:
        model (`PreTrainedModel`): A plain language model becomes a [`OneGenForCausalLM`], in place, if a `preset`
            is given. No weight changes.
        tokenizer (`PreTrainedTokenizerBase`)
        preset (`str`, [`RetrievalTokens`] or [`OneGenConfig`], *optional*): See [`with_preset`].

    Returns:
        [`OneGenForCausalLM`]

    Raises:
        `TypeError`: If `model` is a plain language model and there is no `preset`.
        `ValueError`: If there is no tokenizer, or it lacks the retrieval tokens.
    """
    if tokenizer is None:
        raise ValueError("tokenizer is missing: pass the one that was saved with the model")
    refuse_wrapped(model)
    if preset is not None:
        model = convert(model)
        model.set_onegen_config(with_preset(model.onegen_config, preset))
    # The section first: a broken one is named, whatever the class with which the model was loaded.
    elif OneGenConfig.of(model.config) is None or not isinstance(model, OneGenForCausalLM):
        name = getattr(getattr(model, "config", None), "name_or_path", "the model")
        raise TypeError(
            f"model is a {backbone_class_of(type(model)).__name__} without retrieval tokens. "
            f"{unknown_tokens(name, tokenizer)}"
        )
    model.check_tokenizer(tokenizer)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return model


def where_it_is(model: Any) -> dict[str, Any]:
    """
    The arguments that keep a pipeline from moving a model: its device, or nothing for a model that accelerate spread
    over several devices.

    Args:
        model (`PreTrainedModel`)
    """
    return {} if getattr(model, "hf_device_map", None) else {"device": model.device}


def with_device(options: dict[str, Any], model: Any = None, *_: Any) -> dict[str, Any]:
    """
    Add the device to the arguments of a pipeline for a model of [`quantize_for_cpu`], which must stay on the CPU. By
    default, a pipeline moves its model to an accelerator if there is one.

    Args:
        options (`dict`): Named arguments of the pipeline.
        model (`PreTrainedModel`, *optional*): Its first argument.

    Raises:
        `ValueError`: If another device is requested for such a model.
    """
    model = options.get("model", model)
    places = getattr(model, "hf_device_map", None)
    if places and next(iter(places.values())) == "disk":
        # transformers takes the first place for the device of the input, which a disk is not.
        model.hf_device_map = dict(sorted(places.items(), key=lambda item: item[1] == "disk"))
    if not is_quantized_for_cpu(model):
        return options
    device = options.get("device")
    # A nonnegative integer is an accelerator, a negative one the CPU.
    if device is not None and (device >= 0 if isinstance(device, int) else torch.device(device).type != "cpu"):
        raise ValueError(f"device={device!r}: the model's layers are int8, which run on the CPU only")
    return {**options, "device": "cpu"}


def check_parts(options: Mapping[str, Any]) -> None:
    """
    Check the tokenizer and the device that a pipeline is made with.

    Args:
        options (`Mapping[str, Any]`): Named arguments of the pipeline.

    Raises:
        `TypeError`: If the tokenizer is none, or `device` is neither a name, a number nor a `torch.device`.
        `ValueError`: If there is no such device; transformers would take the CPU for a number.
    """
    optional(instance(PreTrainedTokenizerBase))("tokenizer", options.get("tokenizer"))
    device = options.get("device")
    if isinstance(device, int) and not isinstance(device, bool):
        count = torch.accelerator.device_count()
        if device >= count:
            raise ValueError(f"device={device}: this machine has {count} accelerators. Leave it out, or choose 'cpu'")
        return
    optional(instance(str, torch.device))("device", device)
    try:
        torch.device(device or "cpu")
    except RuntimeError as error:
        raise ValueError(f"device={device!r} is unknown: choose 'cpu', 'cuda', 'cuda:0', 'mps', ...") from error


def open_index(index: Any, model: Any, tokenizer: Any) -> PassageIndex:
    """
    The index to search: `index`, loaded if it is a name, or by default [`default_index`]. A repository is accessed
    with the token and cache of the model.

    Raises:
        `TypeError`: If `index` is neither an index, nor a directory, nor a repository.
        `ValueError`: If there is no index, or it was built by another model.
    """
    if index is not None and not isinstance(index, (PassageIndex, str, os.PathLike)):
        raise TypeError(
            f"index={shown(index)} must be a PassageIndex, a directory or a Hub repository, got "
            f"{type(index).__name__}: make one of passages with `PassageIndex.build(model, tokenizer, passages)`"
        )
    if index is None:
        index = default_index(model)
    elif not isinstance(index, PassageIndex):
        source()("index", index)
    opened = index if isinstance(index, PassageIndex) else PassageIndex.load(index, **access_of(model))
    opened.check_model(model, tokenizer)
    return opened
