"""`TrainingRun`: what a model was trained on, how, and what it took; kept beside the weights for its card."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Mapping, Sized
from dataclasses import MISSING, asdict, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ..files import write_text_atomically
from ..hub.layout import TRAINING_RUN_FILE
from ..hub.names import hub_id, public_name, public_values

_LIBRARIES = ("onegen-hf", "transformers", "torch", "peft", "accelerate", "datasets", "tokenizers")
LOGGED_LOSSES = ("loss_gen", "loss_ret", "loss_distill", "loss_router", "retrieval_accuracy")
"""What the log tells of the objective, beside the loss itself."""
# Where a run writes, whom it tells and how it looks: nothing that the model depends on.
SURROUNDINGS = (
    "output_dir", "logging_", "log_", "run_name", "report_to", "disable_tqdm", "project", "trackio_", "hub_",
    "push_to_hub", "resume_from_checkpoint", "save_", "use_cpu", "local_rank", "ddp_", "trust_remote_code", "do_",
    "accelerator_config", "dataloader_",
)  # fmt: skip


class TrainingRun(TrainerCallback):
    """
    Keeps the time and collects the facts that [`OneGenTrainer`] saves as `training_run.json`.

    A run that is resumed from its own checkpoint adds the time that the checkpoint took.

    Args:
        model (`OneGenForCausalLM` or `PeftModel`): Before training.
        base_model (`str`, *optional*): What it was made from.

    Attributes:
        datasets (`list[str]`): Names of the training data, where the caller knows them.
        recipe (`dict[str, Any]`): Options in addition to the training arguments.
        changed_on_resuming (`dict[str, Any]`): The settings with which the checkpoint was trained that this run was
            resumed from, where they were others.
    """

    def __init__(self, model: torch.nn.Module, base_model: str | None = None) -> None:
        self.base_model = base_model
        self.datasets: list[str] = []
        self.recipe: dict[str, Any] = {}
        self.changed_on_resuming: dict[str, Any] = {}
        sizes = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
        self._parameters = {
            "parameters": sum(size for size, _ in sizes),
            "trained_parameters": sum(size for size, trained in sizes if trained),
        }
        self._seconds, self._first_step = 0.0, 0
        self._started: float | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        earlier = read_record(Path(str(args.output_dir)) / f"checkpoint-{state.global_step}" / TRAINING_RUN_FILE)
        self._seconds = earlier.get("seconds", 0.0)
        self._first_step = earlier.get("measured_from_step", state.global_step)
        self._started = time.perf_counter()

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._seconds, self._started = self.seconds, None

    @property
    def seconds(self) -> float:
        """Wall time of the training so far."""
        return self._seconds + (0.0 if self._started is None else time.perf_counter() - self._started)

    def describe(self, trainer: Any) -> dict[str, Any]:
        """
        What is known of a run; nothing in it is a path of this machine.

        Args:
            trainer ([`OneGenTrainer`])
        """
        args, state = trainer.args, trainer.state
        corpus = getattr(trainer.data_collator, "documents", None)
        losses = [
            {"step": entry["step"], **{name: entry[name] for name in LOGGED_LOSSES if name in entry}}
            for entry in state.log_history
            if "loss_gen" in entry
        ]
        return {
            "base_model": public_name(self.base_model),
            **self._parameters,
            "datasets": [public_name(name) for name in self.datasets],
            "examples": len(trainer.train_dataset) if isinstance(trainer.train_dataset, Sized) else None,
            "documents": len(corpus) if isinstance(corpus, Sized) else None,
            "recipe": public_values({**self.recipe, **changed_options(args)}),
            **({"changed_on_resuming": public_values(self.changed_on_resuming)} if self.changed_on_resuming else {}),
            "steps": state.global_step,
            "epochs": state.epoch,
            "losses": losses[:1] + losses[1:][-1:],
            "seconds": round(self.seconds, 3),
            "measured_from_step": self._first_step,
            "flops": state.total_flos,
            "devices": {"number": args.world_size, "name": device_name(args.device)},
            "libraries": {name: version(name) for name in _LIBRARIES},
        }

    def write(self, directory: str, trainer: Any) -> None:
        """Write `training_run.json`, in one step; nothing for a model that was not trained."""
        if trainer.state.global_step:
            text = json.dumps(self.describe(trainer), indent=1, sort_keys=True, ensure_ascii=False)
            write_text_atomically(Path(directory) / TRAINING_RUN_FILE, text + "\n")


def base_model_of(model: Any) -> str | None:
    """
    What a model is trained from: an adapter's base, or the checkpoint that was loaded. Of a directory that a training
    wrote, it is what that one started from.

    Args:
        model (`OneGenForCausalLM` or `PeftModel`)
    """
    adapter = next(iter(getattr(model, "peft_config", {}).values()), None)
    name = getattr(adapter, "base_model_name_or_path", None) or getattr(model, "name_or_path", None) or None
    earlier = read_record(Path(name) / TRAINING_RUN_FILE).get("base_model") if name and not hub_id(name) else None
    return earlier or name


def changed_options(options: Any) -> dict[str, Any]:
    """
    The fields of a dataclass that differ from their defaults, as a configuration file has them.

    Args:
        options: An instance of a dataclass of options, such as `TrainingArguments`.
    """
    if isinstance(options, TrainingArguments):
        return changed_values(type(options), json.loads(options.to_json_string()))
    return changed_values(type(options), json.loads(json.dumps(asdict(options), default=str)))


def changed_values(kind: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """
    Of stored options those that differ from the defaults.

    Args:
        kind (`type`): The dataclass. No instance of it is made: making `TrainingArguments` resets accelerate's state.
        values (`Mapping[str, Any]`): Name → value.
    """
    return {
        option.name: values[option.name]
        for option in fields(kind)
        if option.init
        and option.name in values
        and not option.name.startswith(SURROUNDINGS)
        and _differs(values[option.name], option)
    }


def _differs(value: Any, option: Any) -> bool:
    default = option.default_factory() if option.default_factory is not MISSING else option.default
    # What is left out may be turned from `None` or `""` into `False` or `[]` on the way.
    return value != default and bool(value or default)


def device_name(device: torch.device) -> str:
    """The hardware behind a device, as its maker calls it."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    if device.type != "cpu":
        return device.type
    listed = Path("/proc/cpuinfo")
    lines = listed.read_text(encoding="utf-8").splitlines() if listed.is_file() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{named[0] if named else platform.processor() or platform.machine()}, {torch.get_num_threads()} threads"


def read_record(path: Path) -> Mapping[str, Any]:
    """A JSON object that a training left, or an empty one."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
