"""What the model options of a recipe mean: how the base is loaded, and the adapter on it."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Any

import torch
from peft import PeftConfig
from transformers import BitsAndBytesConfig
from trl import ModelConfig, get_peft_config, get_quantization_config

from ..checks import check, integer, number, rules_by_annotation
from ..importing.extras import require

_RULES = {
    **rules_by_annotation(ModelConfig),
    "lora_r": integer(least=1),
    "lora_dropout": number(least=0, below=1),
}
_OF_ADAPTERS = (
    "lora_r", "lora_alpha", "lora_dropout", "lora_target_modules", "lora_target_parameters", "lora_modules_to_save",
    "use_rslora", "use_dora",
)  # fmt: skip
_OF_4_BITS = ("bnb_4bit_quant_type", "use_bnb_nested_quant", "bnb_4bit_quant_storage")
_QUANTISED = ("load_in_4bit", "load_in_8bit")


def check_model_options(options: ModelConfig, starts_from_adapter: bool) -> None:
    """
    Refuse options that are wrong, and those that would have no effect.

    Args:
        options (`trl.ModelConfig`)
        starts_from_adapter (`bool`): Whether `model_name_or_path` is an adapter, which is trained further.

    Raises:
        `TypeError` or `ValueError`: Names the option, its value, and what to do.
    """
    check(vars(options), _RULES)
    if options.lora_task_type != "CAUSAL_LM":
        raise ValueError(
            f"lora_task_type={options.lora_task_type!r} is not what is trained here: leave it out, or set 'CAUSAL_LM'"
        )
    if starts_from_adapter:
        changed = _changed(options, ("use_peft", *_OF_ADAPTERS))
        if changed:
            raise ValueError(
                f"{changed} has no effect: {options.model_name_or_path} is an adapter that is trained further, with "
                "its own settings. Leave it out, or merge the adapter and start from the merged model"
            )
    elif not options.use_peft and (changed := _changed(options, _OF_ADAPTERS)):
        raise ValueError(f"{changed} has no effect without an adapter: add use_peft=True, or leave it out")
    if not options.load_in_4bit and (changed := _changed(options, _OF_4_BITS)):
        raise ValueError(f"{changed} has no effect without load_in_4bit=True: add it, or leave this out")
    quantised = _changed(options, _QUANTISED)
    if quantised and not (options.use_peft or starts_from_adapter):
        raise ValueError(
            f"{quantised}: quantised weights can't be trained themselves. Add use_peft=True to train an adapter on "
            "them (QLoRA), or leave it out"
        )
    if quantised:
        require("bitsandbytes", "quantization", f"{quantised}")


def loading_options(options: ModelConfig) -> dict[str, Any]:
    """
    The arguments of `from_pretrained` that the options stand for.

    Args:
        options (`trl.ModelConfig`)
    """
    loading: dict[str, Any] = {"dtype": options.dtype}
    if options.attn_implementation is not None:
        loading["attn_implementation"] = options.attn_implementation
    if options.model_revision != "main":
        loading["revision"] = options.model_revision
    quantisation: BitsAndBytesConfig | None = get_quantization_config(options)
    if quantisation is not None:
        loading["quantization_config"] = quantisation
        # Quantised weights are made where they stay.
        loading["device_map"] = {"": torch.cuda.current_device() if torch.cuda.is_available() else "cpu"}
    return loading


def adapter_config(options: ModelConfig) -> PeftConfig | None:
    """The adapter that the options ask for, or `None`."""
    config = get_peft_config(options)
    targets = options.lora_target_modules
    # trl makes a string of a list of one name, which PEFT reads as a pattern for the whole path of a module.
    if config is not None and isinstance(targets, str) and targets != "all-linear" and targets.isidentifier():
        config.target_modules = {targets}
    return config


def _changed(options: ModelConfig, names: tuple[str, ...]) -> str | None:
    """The first of some options that is not at its default, with its value."""
    for field in fields(options):
        default = field.default_factory() if field.default_factory is not MISSING else field.default
        value = getattr(options, field.name)
        if field.name in names and value != default:
            return f"{field.name}={value!r}"
    return None
