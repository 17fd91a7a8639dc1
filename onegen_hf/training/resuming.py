"""`ResumingMixin`: a training goes on from its last whole checkpoint, with all that is in it."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

from safetensors import safe_open
from transformers import PreTrainedModel
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME

logger = logging.getLogger(__name__)


class ResumingMixin:
    """
    For a `Trainer`; stands before it among the bases.

    A kill can leave a checkpoint half written. `Trainer` takes the one with the highest number and fails; here it is
    the last whole one.

    transformers 5 saves some architectures (most mixtures of experts) under other names than those of the model's
    tensors, an expert each; its `Trainer` reads a checkpoint by the tensors' names and goes on without the rest, with
    a warning (transformers issue 48805). Here they are read as `from_pretrained` reads them.
    """

    args: Any
    model: Any
    state: Any
    is_fsdp_enabled: bool
    is_deepspeed_enabled: bool

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any) -> Any:
        if resume_from_checkpoint is True:
            resume_from_checkpoint = last_whole_checkpoint(self.args.output_dir)
            if resume_from_checkpoint is None:
                raise ValueError(
                    f"output_dir={self.args.output_dir} holds no whole checkpoint to go on from: "
                    "leave resume_from_checkpoint out to start afresh"
                )
        return super().train(resume_from_checkpoint, *args, **kwargs)  # type: ignore[misc]

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if not self._restored(self.model if model is None else model, resume_from_checkpoint):
            super()._load_from_checkpoint(resume_from_checkpoint, model)  # type: ignore[misc]

    def _load_best_model(self) -> None:
        if not self._restored(self.model, self.state.best_model_checkpoint):
            super()._load_best_model()  # type: ignore[misc]

    def _restored(self, model: Any, directory: str) -> bool:
        if self.is_fsdp_enabled or self.is_deepspeed_enabled or not isinstance(model, PreTrainedModel):
            return False  # sharded states and adapters keep the tensors' names
        if names_of_weights(Path(directory)) <= model.state_dict().keys():
            return False
        saved = type(model).from_pretrained(directory, dtype=model.dtype)
        model.load_state_dict(saved.state_dict())
        return True


def last_whole_checkpoint(output_dir: str | os.PathLike[str]) -> str | None:
    """
    The last checkpoint of a training whose writing was not cut off.

    Args:
        output_dir (`str` or path): Of the training; need not exist.

    Returns:
        `str`, *optional*: Its folder.
    """
    numbered = {
        int(number): folder
        for folder in Path(output_dir).glob(f"{PREFIX_CHECKPOINT_DIR}-*")
        if (number := folder.name.rpartition("-")[2]).isdecimal() and folder.is_dir()
    }
    for _, folder in sorted(numbered.items(), reverse=True):
        if is_whole(folder):
            return str(folder)
        logger.warning("%s is incomplete, as a kill leaves it: it is passed over", folder)
    return None


def is_whole(checkpoint: Path) -> bool:
    """Whether a checkpoint was written to its end: the trainer's state comes last."""
    try:
        json.loads((checkpoint / TRAINER_STATE_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True


def names_of_weights(directory: Path) -> set[str]:
    """Of the tensors in a checkpoint's safetensors files; none where it has none."""
    index, weights = directory / SAFE_WEIGHTS_INDEX_NAME, directory / SAFE_WEIGHTS_NAME
    if index.is_file():
        return set(json.loads(index.read_text(encoding="utf-8"))["weight_map"])
    if not weights.is_file():
        return set()
    with safe_open(weights, framework="pt") as file:
        return set(file.keys())
