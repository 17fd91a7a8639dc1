"""`check_reports`: makes sure that the scores in a model card belong to this model."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from ..cards.evaluation import read_report
from ..configuration import RENAMED
from ..evaluation.runs.settings import model_settings
from ..modeling.adapters import is_adapter
from ..modeling.auto import OneGenForCausalLM
from ..modeling.tokenizers import load_tokenizer

_COMPARED = ("weights", "tokenizer", "onegen")


def check_reports(checkpoint: str | os.PathLike[str], reports: Sequence[str]) -> None:
    """
    Make sure that evaluation reports belong to a checkpoint. The checkpoint is loaded the way it was evaluated, an
    adapter with its base; the checksum of all weights, the tokenizer and the settings are compared.

    Args:
        checkpoint (`str` or path): Directory of a full model or an adapter.
        reports (`Sequence[str]`): Output directories of `onegen-hf evaluate`.

    Raises:
        `FileNotFoundError`: If a directory contains no report.
        `ValueError`: If a report belongs to another model, or does not name its weights.
    """
    known: dict[tuple[str, str], Mapping[str, Any]] = {}
    for directory in reports:
        evaluated = read_report(directory)["settings"].get("model")
        if not evaluated:
            raise ValueError(f"the report in {directory} does not record which weights were evaluated: evaluate again")
        dtype, device = evaluated["dtype"], _available(evaluated["device"])
        if (dtype, device) not in known:
            known[dtype, device] = _settings(checkpoint, dtype, device)
        if different := list(_differences(evaluated, known[dtype, device])):
            raise ValueError(
                f"the report in {directory} belongs to another model than {checkpoint}: {', '.join(different)} differ."
                f" Use the report of this model, or evaluate it.{_rounding(checkpoint, evaluated['device'], device)}"
            )


def _settings(checkpoint: str | os.PathLike[str], dtype: str, device: str) -> Mapping[str, Any]:
    model = OneGenForCausalLM.from_pretrained(checkpoint, dtype=getattr(torch, dtype), device_map=device)
    return model_settings(model, load_tokenizer(checkpoint))


def _differences(evaluated: Mapping[str, Any], found: Mapping[str, Any]) -> Iterator[str]:
    for name in _COMPARED:
        before, now = evaluated.get(name), found[name]
        if name == "onegen" and isinstance(before, Mapping):
            # A setting newer than the evaluation has its default, which is not compared.
            before = {RENAMED.get(key, key): value for key, value in before.items()}
            yield from (f"{name}.{key}" for key, value in before.items() if value != now.get(key))
        elif before != now:
            yield name


def _available(device: str) -> str:
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return device if accelerator is not None and accelerator.type == device else "cpu"


def _rounding(checkpoint: str | os.PathLike[str], evaluated_on: str, device: str) -> str:
    if evaluated_on == device or not is_adapter(checkpoint):
        return ""
    return (
        f" It was evaluated on {evaluated_on}, where merging an adapter rounds differently than on {device}: if it "
        f"belongs to this model, push from a machine with {evaluated_on}."
    )
