"""`check_reports`: scores go into the card of the model that was evaluated, and of no other."""

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
    Make sure that reports are of a checkpoint. It is loaded for that as it was for the evaluation, an adapter with its
    base; what is compared is the checksum of all weights, the tokenizer and the settings.

    Args:
        checkpoint (`str` or path): Directory of a full model or of an adapter.
        reports (`Sequence[str]`): Output directories of `onegen-hf evaluate`.

    Raises:
        `FileNotFoundError`: If one holds no report.
        `ValueError`: If one is of another model, or does not say of which.
    """
    known: dict[tuple[str, str], Mapping[str, Any]] = {}
    for directory in reports:
        evaluated = read_report(directory)["settings"].get("model")
        if not evaluated:
            raise ValueError(f"the report in {directory} does not say which weights it is of: evaluate again")
        dtype, device = evaluated["dtype"], _available(evaluated["device"])
        if (dtype, device) not in known:
            known[dtype, device] = _settings(checkpoint, dtype, device)
        if different := list(_differences(evaluated, known[dtype, device])):
            raise ValueError(
                f"the report in {directory} is of another model than {checkpoint}: {', '.join(different)} differ. Use "
                f"the report of this one, or evaluate it.{_rounding(checkpoint, evaluated['device'], device)}"
            )


def _settings(checkpoint: str | os.PathLike[str], dtype: str, device: str) -> Mapping[str, Any]:
    model = OneGenForCausalLM.from_pretrained(checkpoint, dtype=getattr(torch, dtype), device_map=device)
    return model_settings(model, load_tokenizer(checkpoint))


def _differences(evaluated: Mapping[str, Any], found: Mapping[str, Any]) -> Iterator[str]:
    for name in _COMPARED:
        before, now = evaluated.get(name), found[name]
        if name == "onegen" and isinstance(before, Mapping):
            # A setting that the evaluation did not know yet has its default.
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
        f" It was evaluated on {evaluated_on}, where merging an adapter rounds differently than on {device}: if it is "
        f"this model, push from a machine with {evaluated_on}."
    )
