"""Models for the Hub: a saved checkpoint, or one in memory, with its card and its index."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from huggingface_hub import (
    CommitInfo,
    ModelCard,
)
from transformers import AutoConfig, PreTrainedTokenizerBase

from ..cards import model_card
from ..cards.training_record import base_model_of, read_record
from ..configuration import OneGenConfig
from ..hub.commit import Upload, check_repo_id
from ..hub.layout import (
    CARD,
    DESCRIPTION_FILE,
    INDEX_FILES,
    MODEL_FILES,
    WEIGHT_FILES,
    current_version,
    matching_files,
    require_file,
)
from ..hub.names import hub_id
from .adapters import is_adapter
from .default_index import default_index


def push_model(
    model: Any,
    repo_id: str,
    tokenizer: PreTrainedTokenizerBase | None = None,
    max_shard_size: int | str = "50GB",
    tags: Sequence[str] | None = None,
    **commit: Any,
) -> CommitInfo:
    """
    Save a model, with the default index that lies beside its weights, and send it with its card as one commit.

    Args:
        model (`OneGenForCausalLM`)
        repo_id (`str`): Such as `"organisation/name"`; created if it is missing.
        tokenizer (`PreTrainedTokenizerBase`, *optional*): Goes along.
        max_shard_size (`int` or `str`, *optional*, defaults to `"50GB"`): Of a file of weights.
        tags (`Sequence[str]`, *optional*): Further tags of the card.
        commit: As for [`~onegen_hf.hub.Upload.push`]: `private`, `token`, `revision`, `commit_message`, ...

    Raises:
        `FileNotFoundError`: If the default index is to lie beside the weights and does not.
        `ValueError`: If the default index is a directory of this machine.
    """
    check_repo_id(repo_id)
    base_model = base_model_of(model)
    with TemporaryDirectory() as directory:
        root = Path(directory)
        model.save_pretrained(root, max_shard_size=max_shard_size)
        if tokenizer is not None:
            tokenizer.save_pretrained(root)
        location = model.onegen_config.default_index
        if location is not None and location.startswith("./"):
            _copy_index(model, root / location)
        upload = model_upload(
            root, repo_id, base_model=None if base_model == repo_id else base_model, tags=list(tags or ())
        )
        return upload.push(**commit)


def _copy_index(model: Any, target: Path) -> None:
    known = os.path.isdir(model.name_or_path) or hub_id(model.name_or_path)
    source = current_version(Path(default_index(model))) if known else None
    if source is None or not (source / DESCRIPTION_FILE).is_file():
        raise FileNotFoundError(
            f"default_index={model.onegen_config.default_index!r} lies beside the weights, but there is none in "
            f"{model.name_or_path!r}, where the model comes from: save it there, or set default_index to a repository "
            "or None"
        )
    shutil.copytree(source, target)


def model_upload(
    directory: str | os.PathLike[str],
    repo_id: str,
    reports: Sequence[str] = (),
    keep_card: bool = False,
    merged_from: str | os.PathLike[str] | None = None,
    **card: Any,
) -> Upload:
    """
    A saved checkpoint, full model or adapter, with the index beside it if there is one.

    Args:
        directory (`str` or path)
        repo_id (`str`)
        reports (`Sequence[str]`, *optional*): Output directories of `onegen-hf evaluate`, for the card.
        keep_card (`bool`, *optional*, defaults to `False`): Push the README.md that is there.
        merged_from (`str` or path, *optional*): The adapter that was merged into this model: the reports are of it.
        card: Further arguments of [`model_card`].

    Raises:
        `FileNotFoundError`: If there is no checkpoint.
        `ValueError`: If it has no `onegen` section, or depends on a directory of this machine, or if a report is of
            another model.
    """
    root = require_file(directory, "config.json", "save the model with `save_pretrained`")
    settings = OneGenConfig.of(AutoConfig.from_pretrained(root))
    if settings is None:
        raise ValueError(f"{root / 'config.json'} has no 'onegen' section: push it as the plain model that it is")
    files = matching_files(root, MODEL_FILES)
    if not any(name.endswith(".safetensors") for name in files):
        raise FileNotFoundError(f"{root} holds no weights as *.safetensors: save the model with `save_pretrained`")
    if (location := settings.default_index) is not None:
        if location.startswith("./"):
            if not (root / location).resolve().is_relative_to(root.resolve()):
                raise ValueError(f"default_index={location!r} leads out of {root}: move the index into it")
            require_file(
                root / location, DESCRIPTION_FILE, "save the default index there, or set default_index to None"
            )
        elif os.path.isabs(location) or os.path.isdir(location):
            raise ValueError(f"default_index={location!r} is a directory of this machine: name a repository instead")
    if is_adapter(root):
        base = read_record(root / "adapter_config.json").get("base_model_name_or_path") or ""
        if os.path.isabs(base) or os.path.isdir(base):
            raise ValueError(f"the adapter's base is the directory {base!r} of this machine: push it merged (--merge)")
    files += index_beside(root, location)
    if keep_card:
        if reports:
            raise ValueError("reports go into the card that is made, but keep_card pushes the one there: choose one")
        kept = ModelCard.load(require_file(root, CARD, "leave keep_card out") / CARD)
        return Upload(repo_id, "model", root, files, kept, WEIGHT_FILES)
    made = model_card(root, repo_id=repo_id, reports=reports, merged_from=merged_from, **card)
    return Upload(repo_id, "model", root, files, made, WEIGHT_FILES)


def index_beside(root: Path, location: str | None) -> tuple[str, ...]:
    """
    The index that is pushed with a model.

    Args:
        root (`Path`): Directory of the model.
        location (`str`, *optional*): Its `default_index`.

    Returns:
        `tuple[str, ...]`: Files of the default index, or of an index in the usual folder that is no default, relative
        to `root`; none of an index that lies elsewhere.
    """
    folder = os.path.normpath(location) if location and location.startswith("./") else "index"
    if Path(folder).parts[:1] == ("..",):
        return ()
    return matching_files(root, [f"{Path(folder).as_posix()}/{name}" for name in INDEX_FILES])
