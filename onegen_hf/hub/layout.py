"""The names of the files that make up a model, an index or a dataset, on disk and on the Hub."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from ..checks import path

PACKAGE = "onegen_hf"
"""All that saved artefacts name of this package, whatever its layout."""
CARD = "README.md"

INDEX_FILE = "index.faiss"
EMBEDDINGS_FILE = "embeddings.safetensors"
PASSAGES_FILE = "passages.parquet"
WORDS_FILE = "bm25.safetensors"
DESCRIPTION_FILE = "index.json"
INDEX_FILES = (INDEX_FILE, EMBEDDINGS_FILE, PASSAGES_FILE, WORDS_FILE, DESCRIPTION_FILE)
"""What an index may consist of: the first is of the FAISS backend, the second of the torch backend, and the fourth of
an index that is searched by words as well."""
POINTER_FILE, VERSIONS = "current.json", "versions"
"""Which version of an index is the current one, and the folder of all; see [`current_version`]."""

SHIM_MODULE = "modeling_onegen"
TRAINING_RUN_FILE = "training_run.json"
CURVES_FILE = "training_curves.svg"
PROJECTION_FILE = "retrieval_projection/model.safetensors"
_SHARD = "-".join(("model", "[0-9]" * 5, "of", "[0-9]" * 5))
# Exact names, and the pattern of shards, so that no pickle (*.bin, *.pt) and no private file is pushed with them.
MODEL_FILES = (
    # transformers
    "config.json", "generation_config.json", "model.safetensors", f"{_SHARD}.safetensors",
    "model.safetensors.index.json",
    # PEFT
    "adapter_config.json", "adapter_model.safetensors",
    # of embeddings
    PROJECTION_FILE,
    # tokenizers
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja",
    "additional_chat_templates/*.jinja", "vocab.json", "vocab.txt", "merges.txt", "tokenizer.model", "spiece.model",
    "sentencepiece.bpe.model", "sentencepiece.model", "spm.model", "normalizer.json", "tekken.json",
    # sentence-transformers
    "modules.json", "config_sentence_transformers.json", "onegen_sentence_transformer.json",
    # this package, and what a training records of itself
    f"{SHIM_MODULE}.py", TRAINING_RUN_FILE, CURVES_FILE, "training_args.json", "trainer_state.json",
    "train_results.json", "eval_results.json", "all_results.json",
)  # fmt: skip
"""What belongs to a model and is pushed with it."""
RESUME_FILES = (
    "optimizer.pt", "scheduler.pt", "scaler.pt", "rng_state.pth",
    *(f"rng_state_{'[0-9]' * digits}.pth" for digits in range(1, 5)),
)  # fmt: skip
"""What resuming a training needs beside its model, on one process or several."""
# What an older push may have left, and would be loaded in place of this one's weights.
WEIGHT_FILES = ("*.safetensors", "*.safetensors.index.json", "adapter_config.json")

DATASET_ROWS = ("documents/*.parquet", "examples/*.parquet")
DATASET_FILES = (*DATASET_ROWS, "report.json")


def current_version(directory: Path) -> Path:
    """
    The directory in which the files of an index lie: the version that `current.json` names, or without such a file the
    directory itself.

    Args:
        directory (`Path`)

    Raises:
        `ValueError`: If `current.json` is damaged.
    """
    pointer = directory / POINTER_FILE
    try:
        content = json.loads(pointer.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return directory
    except ValueError as error:
        raise ValueError(f"{pointer} is damaged ({error}): delete it, and save the index again") from error
    version = content.get("version") if isinstance(content, dict) else None
    # A number, so that it cannot lead out of the folder.
    if not isinstance(version, int) or isinstance(version, bool):
        raise ValueError(f"{pointer} names no version: delete it, and save the index again")
    return directory / VERSIONS / str(version)


def index_directory(version: Path) -> Path:
    """The directory of an index, from that of one of its versions."""
    return version.parent.parent if version.parent.name == VERSIONS else version


def require_file(directory: str | os.PathLike[str], name: str, remedy: str) -> Path:
    """
    The directory, if it holds a file of this name.

    Raises:
        `FileNotFoundError`: If it does not; the message ends with `remedy`.
        `ValueError`: If it is a link.
    """
    root = Path(path()("directory", directory))
    refuse_links(root, [name])
    if not (root / name).is_file():
        raise FileNotFoundError(f"{root / name} is missing: {remedy}")
    return root


def is_linked(root: Path, name: str) -> bool:
    """Whether a file is a link, or lies in a linked folder of a directory, and so may be anything of this machine."""
    path = root / name
    return any(part.is_symlink() for part in (path, *path.parents[: len(Path(name).parts) - 1]))


def refuse_links(root: Path, names: Sequence[str]) -> None:
    """
    Raises:
        `ValueError`: If one of the files of a directory is a link, which is not followed.
    """
    linked = [name for name in names if is_linked(root, name)]
    if linked:
        raise ValueError(
            f"{', '.join(linked)} in {root}: links are not followed, since they may lead to private files. Put the "
            "files themselves there (`cp -rL`)"
        )


def matching_files(root: Path, patterns: Sequence[str]) -> tuple[str, ...]:
    """The files of a directory that match one of the patterns, relative to it, with `/`, sorted."""
    found = {file.relative_to(root).as_posix() for pattern in patterns for file in root.glob(pattern)}
    return tuple(sorted(name for name in found if (root / name).is_file()))
