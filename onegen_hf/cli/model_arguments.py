"""The options that commands share: which model they load, and how it answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from ..bundled.checkpoints import DEFAULT_CHECKPOINT, builtin_path, is_builtin
from ..bundled.weights import require_weights
from ..checks import checked_fields, choice, flag, integer, number, optional, source
from ..configuration import OneGenConfig
from ..presets import PRESET_CHOICES, with_preset
from .rules import DEVICE_MAPS, DTYPES, RETRIEVAL_MODES, device, dtype, index_source, require_device, threshold

INDEX = optional(index_source())
"""Rule of an option that names an index."""


@dataclass(kw_only=True)
class ModelArguments:
    """Which model a command loads, and where it runs."""

    renamed: ClassVar[dict[str, str]] = {"tokens": "preset"}
    """Old name of an option → the name of today."""

    group: ClassVar[str] = "model"
    """Title of these options in the help."""

    model: str | None = field(
        default=None,
        metadata={"help": "Directory or Hub repository of the model; default: builtin, the bundled one."},
    )
    preset: str | None = field(
        default=None,
        metadata={
            "help": "Tokens and formats of a checkpoint without an `onegen` section, such as those of the paper.",
            "choices": PRESET_CHOICES,
        },
    )
    device: str = field(default="auto", metadata={"help": "cpu, cuda:0, ...; auto is an accelerator if there is one."})
    dtype: str = field(default="auto", metadata={"help": f"One of {', '.join(DTYPES)}; auto is the checkpoint's own."})

    def __post_init__(self) -> None:
        checked_fields(
            self, model=optional(source()), preset=optional(choice(PRESET_CHOICES)), device=device(), dtype=dtype()
        )

    def builtin(self) -> Path:
        """The checkpoint that `--model builtin` names, and that is loaded by default."""
        return DEFAULT_CHECKPOINT

    def model_name(self) -> str:
        """The model as an index names it."""
        return "builtin" if self.model is None else self.model

    def checkpoint(self) -> str:
        """
        The directory or repository of the model.

        Raises:
            `WeightsMissingError`: If it is a bundled one, and the weights of its base are not installed.
        """
        name = str(self.builtin()) if self.model in (None, "builtin") else builtin_path(self.model)
        require_weights(name)
        return name

    def checkpoint_to_change(self) -> str:
        """
        The directory of the model, for a command that writes into it.

        Raises:
            `ValueError`: If it is bundled, or no directory of this machine.
        """
        name = self.checkpoint()
        if is_builtin(name) or not (Path(name) / "config.json").is_file():
            raise ValueError(
                f"save writes into the checkpoint, but model={self.model!r} is no directory of yours: name one"
            )
        return name

    def place(self) -> dict[str, Any]:
        """The arguments that put a pipeline on the device."""
        require_device(self.device)
        if self.device == "auto":
            return {}
        return {"device_map" if self.device in DEVICE_MAPS else "device": self.device}

    def load_model(self) -> Any:
        """The model, in evaluation mode."""
        name = self.checkpoint()
        from ..modeling.auto import OneGenForCausalLM

        require_device(self.device)
        return OneGenForCausalLM.from_pretrained(
            name, preset=self.preset, dtype=self.dtype, device_map=self.device
        ).eval()

    def load_settings(self) -> OneGenConfig:
        """The settings of the model, without its weights."""
        from transformers import AutoConfig

        settings = OneGenConfig.of(AutoConfig.from_pretrained(self.checkpoint())) or OneGenConfig()
        return settings if self.preset is None else with_preset(settings, self.preset)

    def load_tokenizer(self) -> Any:
        """The tokenizer of the model."""
        from ..modeling.tokenizers import load_tokenizer

        return load_tokenizer(self.checkpoint())


@dataclass(kw_only=True)
class AnswerArguments(ModelArguments):
    """How a model answers questions."""

    group: ClassVar[str] = "answers"

    max_hops: int = field(default=5, metadata={"help": "Maximum number of retrievals per answer."})
    retrieval: str = field(
        default="adaptive",
        metadata={
            "help": "adaptive lets the model decide when to retrieve; always makes it retrieve; never answers without "
            "passages.",
            "choices": RETRIEVAL_MODES,
        },
    )
    retrieval_threshold: float | None = field(
        default=None,
        metadata={
            "help": "With --retrieval adaptive: retrieve where the probability of a retrieval is higher; default: the "
            "checkpoint's own, without which the model decides."
        },
    )
    answer_threshold: float | None = field(
        default=None,
        metadata={
            "help": "Give no answer if the best passage of a hop scores lower; default: the checkpoint's own; "
            "-inf for none."
        },
    )
    max_new_tokens: int = field(default=256, metadata={"help": "Maximum number of generated tokens per answer."})
    int8: bool = field(default=False, metadata={"help": "Quantize the linear layers to int8: faster on a CPU."})

    def __post_init__(self) -> None:
        super().__post_init__()
        checked_fields(
            self,
            max_hops=integer(least=0),
            retrieval=choice(RETRIEVAL_MODES),
            retrieval_threshold=optional(number(least=0, most=1)),
            answer_threshold=optional(threshold()),
            max_new_tokens=integer(least=1),
            int8=flag(),
        )
        if self.retrieval_threshold is not None and self.retrieval != "adaptive":
            raise ValueError(
                f"retrieval_threshold={self.retrieval_threshold} is for retrieval=adaptive, not {self.retrieval}"
            )
        if self.int8 and self.device == "auto":
            self.device = "cpu"  # the integer kernels run nowhere else

    def load_model(self) -> Any:
        """The model, in evaluation mode and quantized if the options say so."""
        return self.quantized(super().load_model())

    def quantized(self, model: Any) -> Any:
        """Quantize a loaded model as the options say. Options for other methods belong here."""
        if not self.int8:
            return model
        from ..modeling.int8 import quantize_for_cpu

        return quantize_for_cpu(model)
