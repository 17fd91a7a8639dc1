"""Lets `trust_remote_code=True` find this package: a module in the checkpoint imports it, without copied code."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import AutoConfig

from ..files import write_text_atomically
from ..hub.layout import PACKAGE, SHIM_MODULE


class BackboneConfig:
    """
    The configuration class in a checkpoint's `auto_map`; it loads the backbone's configuration.

    Its purpose is to be imported. `pipeline("onegen-rag", model="org/name", trust_remote_code=True)` reads the
    configuration first, and importing this class imports the package, which registers the tasks. The usual mechanism,
    `custom_pipelines` in config.json, would affect users who have already imported the package: transformers would
    refuse the task without `trust_remote_code`.
    """

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike[str], **kwargs: Any) -> Any:
        """As `AutoConfig.from_pretrained` without remote code: a `LlamaConfig`, `Qwen3Config`, ..."""
        return AutoConfig.from_pretrained(pretrained_model_name_or_path, trust_remote_code=False, **kwargs)

    @classmethod
    def register_for_auto_class(cls, auto_class: str = "AutoConfig") -> None:
        """Does nothing: the loaded configuration belongs to transformers, and its source must not be copied."""


def write_shim(directory: Path, model_class: type) -> dict[str, str]:
    """
    Write the module into a checkpoint.

    Args:
        directory (`Path`)
        model_class (`type`): `OneGenLlamaForCausalLM`, ...

    Returns:
        `dict[str, str]`: The `auto_map` for config.json.
    """
    imported = {"AutoConfig": BackboneConfig, "AutoModelForCausalLM": model_class}
    lines = [f"from {PACKAGE} import {kind.__name__}  # noqa: F401\n" for kind in imported.values()]
    write_text_atomically(directory / f"{SHIM_MODULE}.py", "".join(sorted(lines)))
    return {auto_class: f"{SHIM_MODULE}.{kind.__name__}" for auto_class, kind in imported.items()}


def without_shim(auto_map: Mapping[str, str] | None) -> dict[str, str]:
    """The entries of an `auto_map` that do not refer to the module of [`write_shim`]."""
    module = f"{SHIM_MODULE}."
    return {
        auto_class: reference
        for auto_class, reference in (auto_map or {}).items()
        if not str(reference).rpartition("--")[2].startswith(module)
    }
