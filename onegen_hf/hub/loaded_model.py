"""`push_model`: a model in memory goes to the Hub as a saved one does."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from huggingface_hub import CommitInfo
from transformers import PreTrainedTokenizerBase

from ..index.storage import DESCRIPTION_FILE
from ..pipelines.checkpoint import default_index
from ..public_names import hub_id
from ..training_run import base_model_of
from .upload import model_upload


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
    source = Path(default_index(model)) if known else None
    if source is None or not (source / DESCRIPTION_FILE).is_file():
        raise FileNotFoundError(
            f"default_index={model.onegen_config.default_index!r} lies beside the weights, but there is none in "
            f"{model.name_or_path!r}, where the model comes from: save it there, or set default_index to a repository "
            "or None"
        )
    shutil.copytree(source, target)
