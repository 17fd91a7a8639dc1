"""`CheckpointWeightsMixin`: a training that goes on takes all weights of its checkpoint, experts too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import safe_open
from transformers import PreTrainedModel
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME


class CheckpointWeightsMixin:
    """
    For a `Trainer`; stands before it among the bases.

    transformers 5 saves some architectures (most mixtures of experts) under other names than those of the model's
    tensors, an expert each; its `Trainer` reads a checkpoint by the tensors' names and goes on without the rest, with
    a warning (transformers issue 48805).
    """

    model: Any
    state: Any
    is_fsdp_enabled: bool
    is_deepspeed_enabled: bool

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


def names_of_weights(directory: Path) -> set[str]:
    """Of the tensors in a checkpoint's safetensors files; none where it has none."""
    index, weights = directory / SAFE_WEIGHTS_INDEX_NAME, directory / SAFE_WEIGHTS_NAME
    if index.is_file():
        return set(json.loads(index.read_text(encoding="utf-8"))["weight_map"])
    if not weights.is_file():
        return set()
    with safe_open(weights, framework="pt") as file:
        return set(file.keys())
