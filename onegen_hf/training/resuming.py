"""Resuming: which checkpoint a training goes on from, and how its weights are read."""

from __future__ import annotations

import json
import logging
import os
import zipfile
from pathlib import Path
from typing import Any

from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from peft import PeftModel
from safetensors import SafetensorError, safe_open
from transformers import PreTrainedModel
from transformers.trainer import OPTIMIZER_NAME, SCHEDULER_NAME, TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from transformers.utils import ADAPTER_SAFE_WEIGHTS_NAME, SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME

from ..modeling.projection import load_projection

logger = logging.getLogger(__name__)


def last_whole_checkpoint(output_dir: str | os.PathLike[str], joined: bool = True) -> str | None:
    """
    The last checkpoint of a training from which it can be resumed.

    A kill or a power cut can leave a checkpoint half written; those are passed over with a warning.

    Args:
        output_dir (`str` or path): Of the training; need not exist.
        joined (`bool`, *optional*, defaults to `True`): Whether all processes of the training ask: one of them looks,
            and all get the same answer.

    Returns:
        `str`, *optional*: The folder of the checkpoint.
    """
    choice: list[str | None] = [None]
    if not joined or PartialState().is_main_process:
        for folder in reversed(checkpoints_in(output_dir)):
            fault = fault_of(folder)
            if fault is None:
                choice = [str(folder)]
                break
            logger.warning("%s is incomplete (%s), as a kill leaves it: it is passed over", folder, fault)
    return broadcast_object_list(choice)[0] if joined else choice[0]


def checkpoints_in(output_dir: str | os.PathLike[str]) -> list[Path]:
    """The folders of a training's checkpoints, whole or not, by their step."""
    by_step = {
        int(step): folder
        for folder in Path(output_dir).glob(f"{PREFIX_CHECKPOINT_DIR}-*")
        if (step := folder.name.rpartition("-")[2]).isdecimal() and folder.is_dir()
    }
    return [by_step[step] for step in sorted(by_step)]


def fault_of(checkpoint: Path) -> str | None:
    """
    What keeps a training from being resumed from a checkpoint.

    Args:
        checkpoint (`Path`)

    Returns:
        `str`, *optional*: What is missing or damaged; `None` if the checkpoint is whole.
    """
    try:
        json.loads((checkpoint / TRAINER_STATE_NAME).read_text(encoding="utf-8"))
        if _is_sharded(checkpoint):
            return None  # FSDP's and DeepSpeed's own files, which they check themselves
        for name in _weight_files(checkpoint):
            with safe_open(checkpoint / name, framework="pt"):  # reads the header, and compares it with the size
                pass
        for name in (OPTIMIZER_NAME, SCHEDULER_NAME):
            with zipfile.ZipFile(checkpoint / name) as archive:
                if archive.testzip() is not None:
                    return f"{name} is damaged"
    except FileNotFoundError as error:
        return f"{Path(str(error.filename or error)).name} is missing"
    except (OSError, ValueError, KeyError, TypeError, SafetensorError, zipfile.BadZipFile) as error:
        return f"unreadable: {error}"
    return None


def _is_sharded(checkpoint: Path) -> bool:
    return (checkpoint / "latest").is_file() or any(checkpoint.glob("pytorch_model_fsdp*"))


def _weight_files(checkpoint: Path) -> set[str]:
    """The files with a checkpoint's weights; the one of a full model where there is none."""
    index = checkpoint / SAFE_WEIGHTS_INDEX_NAME
    if index.is_file():
        return set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    adapters = {file.relative_to(checkpoint).as_posix() for file in checkpoint.rglob(ADAPTER_SAFE_WEIGHTS_NAME)}
    return {SAFE_WEIGHTS_NAME} if (checkpoint / SAFE_WEIGHTS_NAME).is_file() else adapters or {SAFE_WEIGHTS_NAME}


def restore_renamed_weights(model: Any, directory: str) -> bool:
    """
    Load a checkpoint whose tensors have other names than the model's, as `from_pretrained` reads them.

    transformers 5 saves some architectures (most mixtures of experts) under other names than those of the model's
    tensors, an expert each; its `Trainer` reads a checkpoint by the tensors' names and goes on without the rest, with
    a warning (transformers issue 48805).

    Args:
        model (`PreTrainedModel`): Changed in place. Adapters keep their tensors' names.
        directory (`str`): The checkpoint.

    Returns:
        `bool`: Whether it was loaded; `False` where the names agree, and `Trainer` can do it.
    """
    if not isinstance(model, PreTrainedModel) or _is_sharded(Path(directory)):
        return False
    if _names_of_weights(Path(directory)) <= model.state_dict().keys():
        return False
    saved = type(model).from_pretrained(directory, dtype=model.dtype)
    model.load_state_dict(saved.state_dict())
    return True


def restore_projection(model: Any, directory: str) -> None:
    """
    Load the projection of the embeddings, which lies beside the weights that `Trainer` reads.

    Args:
        model (`PreTrainedModel` or `PeftModel`): Changed in place.
        directory (`str`): The checkpoint.
    """
    if not _is_sharded(Path(directory)):  # else it is among the sharded weights
        load_projection(model.get_base_model() if isinstance(model, PeftModel) else model, directory)


def _names_of_weights(directory: Path) -> set[str]:
    """The names of the tensors in a checkpoint's safetensors files; none where it has none."""
    names: set[str] = set()
    for file in _weight_files(directory):
        if (directory / file).is_file():
            with safe_open(directory / file, framework="pt") as weights:
                names |= set(weights.keys())
    return names
