"""`ModelArguments`: the options that every command with a model has."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from ..checks import checked_fields, choice, optional
from ..presets import PRESET_CHOICES
from .rules import DEVICE_MAPS, device, dtype, require_device, source


@dataclass(kw_only=True)
class ModelArguments:
    """Which model a command loads, and where it runs."""

    renamed: ClassVar[dict[str, str]] = {"tokens": "preset"}
    """Old name of an option → the name of today."""

    model: str | None = field(
        default=None, metadata={"help": "Directory or Hub repository of the model; default: the bundled one."}
    )
    preset: str | None = field(
        default=None,
        metadata={
            "help": "Tokens and formats of a checkpoint without an `onegen` section, such as those of the paper.",
            "choices": PRESET_CHOICES,
        },
    )
    device: str = field(default="auto", metadata={"help": "cpu, cuda:0, ...; auto is an accelerator if there is one."})
    dtype: str = field(default="auto", metadata={"help": "float32, bfloat16, ...; auto is the checkpoint's own."})

    def __post_init__(self) -> None:
        checked_fields(
            self, model=optional(source()), preset=optional(choice(PRESET_CHOICES)), device=device(), dtype=dtype()
        )

    def place(self) -> dict[str, Any]:
        """The arguments that put a pipeline on the device."""
        require_device(self.device)
        if self.device == "auto":
            return {}
        return {"device_map" if self.device in DEVICE_MAPS else "device": self.device}

    def load_model(self, name: str) -> Any:
        """The model called `name`, in evaluation mode."""
        from ..modeling.auto import OneGenForCausalLM

        require_device(self.device)
        return OneGenForCausalLM.from_pretrained(
            name, preset=self.preset, dtype=self.dtype, device_map=self.device
        ).eval()
