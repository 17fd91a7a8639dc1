"""The names of the files that make up a model, an index or a dataset, on disk and on the Hub."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

PACKAGE = "onegen_hf"
"""All that saved artefacts name of this package, whatever its layout."""
CARD = "README.md"

INDEX_FILE = "index.faiss"
PASSAGES_FILE = "passages.parquet"
DESCRIPTION_FILE = "index.json"
INDEX_FILES = (INDEX_FILE, PASSAGES_FILE, DESCRIPTION_FILE)

SHIM_MODULE = "modeling_onegen"
TRAINING_RUN_FILE = "training_run.json"
# By name, so that neither pickles (*.bin, *.pt) nor the state of the optimizer nor anything private goes along.
MODEL_FILES = ("*.safetensors", "*.json", "*.jinja", "*.model", "merges.txt", "vocab.txt", f"{SHIM_MODULE}.py")
# What an older push may have left, and would be loaded in place of this one's weights.
WEIGHT_FILES = ("*.safetensors", "*.safetensors.index.json", "adapter_config.json")

DATASET_ROWS = ("documents/*.parquet", "examples/*.parquet")
DATASET_FILES = (*DATASET_ROWS, "report.json")


def require_file(directory: str | os.PathLike[str], name: str, remedy: str) -> Path:
    """
    The directory, if it holds a file of this name.

    Raises:
        `FileNotFoundError`: If it does not; the message ends with `remedy`.
    """
    root = Path(directory)
    if not (root / name).is_file():
        raise FileNotFoundError(f"{root / name} is missing: {remedy}")
    return root


def matching_files(root: Path, patterns: Sequence[str]) -> tuple[str, ...]:
    """The files of a directory that match one of the patterns, relative to it, with `/`, sorted."""
    found = {file.relative_to(root).as_posix() for pattern in patterns for file in root.glob(pattern)}
    return tuple(sorted(name for name in found if (root / name).is_file()))
