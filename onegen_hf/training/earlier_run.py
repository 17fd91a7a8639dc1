"""A folder in which a training already wrote: is it the same training, and may this one go on there?"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from ..cards.training_record import SURROUNDINGS, read_record
from ..hub.layout import TRAINING_RUN_FILE
from ..hub.names import public_values
from .arguments import OneGenTrainingArguments
from .resuming import checkpoints_in, fault_of, last_whole_checkpoint

ARGUMENTS_FILE = "training_args.json"
STATE_FILE = "trainer_state.json"
# Evaluation does not change the weights, whichever way it is done.
_WITHOUT_EFFECT = (
    *SURROUNDINGS, "eval_", "per_device_eval", "batch_eval", "include_", "prediction_loss_only", "fp16_full_eval",
    "bf16_full_eval", "skip_memory_metrics", "debug", "torch_empty_cache_steps", "overwrite_output_dir",
)  # fmt: skip
_RECIPE = "recipe: "
_FACTS = ("examples", "documents", "parameters", "trained_parameters")
"""What training_run.json tells of the data and the model, which the arguments do not."""


def settings_of(
    args: OneGenTrainingArguments, recipe: Mapping[str, Any], facts: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """
    What the weights of a training depend on.

    Args:
        args ([`OneGenTrainingArguments`])
        recipe (`Mapping[str, Any]`): Options beside the arguments, as `training_run.json` has them.
        facts (`Mapping[str, Any]`, *optional*): Content of `training_run.json`, where data and model are known.
    """
    arguments = json.loads(args.to_json_string())
    return _joined(arguments, public_values(recipe), facts or {})


def check_same_training(
    settings: Mapping[str, Any], output_dir: str | os.PathLike[str], checkpoint: str | None = None
) -> None:
    """
    Refuse to train into a folder that holds a training with other settings, or to resume such a training.

    Args:
        settings (`Mapping[str, Any]`): From [`settings_of`].
        output_dir (`str` or path): Of the training; need not exist.
        checkpoint (`str`, *optional*): What the training is resumed from; by default it starts afresh.

    Raises:
        `ValueError`: Names the settings that differ, with their old and new values.
    """
    root = Path(checkpoint or output_dir)
    folders = [root] if checkpoint else [root, *reversed(checkpoints_in(root))]
    recorded = next((folder for folder in folders if (folder / ARGUMENTS_FILE).is_file()), None)
    if recorded is None:
        return
    earlier = _recorded(recorded)
    # A recipe is that of the command; a training from Python has none.
    names = [name for name in settings if name in earlier or name in _recipe_names(settings, earlier)]
    names += sorted(_recipe_names(earlier, settings) - set(names))
    different = {
        name: (earlier.get(name), settings.get(name)) for name in names if earlier.get(name) != settings.get(name)
    }
    if not different:
        return
    listed = [f"{name.removeprefix(_RECIPE)}={new!r} (there: {old!r})" for name, (old, new) in different.items()]
    raise ValueError(
        f"{recorded} was trained with other settings than these: {', '.join(listed)}. Resuming would keep its "
        "schedule and record settings that it was not trained with: choose another output_dir, give the same "
        "settings, or pass overwrite_output_dir=True (--overwrite_output_dir) to delete its checkpoints first"
    )


def checkpoint_to_resume(trainer: Any, resume_from_checkpoint: str | bool | None) -> str | None:
    """
    The checkpoint that a training goes on from, once it is known to be whole and of the same training.

    Args:
        trainer ([`OneGenTrainer`])
        resume_from_checkpoint (`str` or `bool`, *optional*): As for [`OneGenTrainer.train`].

    Returns:
        `str`, *optional*: `None` to start afresh.

    Raises:
        `ValueError`: If there is none, if it is damaged, or if it belongs to a training with other settings.
    """
    output_dir, checkpoint = str(trainer.args.output_dir), resume_from_checkpoint or None
    if trainer.args.overwrite_output_dir and checkpoint is None:
        if trainer.is_world_process_zero():
            forget_earlier_run(output_dir)
        trainer.accelerator.wait_for_everyone()
        return None
    if checkpoint is True:
        checkpoint = last_whole_checkpoint(output_dir)
        if checkpoint is None:
            raise ValueError(
                f"output_dir={output_dir} holds no whole checkpoint to go on from: leave resume_from_checkpoint out "
                "to start afresh"
            )
    elif checkpoint is not None and (fault := fault_of(Path(checkpoint))) is not None:
        raise ValueError(
            f"resume_from_checkpoint={checkpoint!r} is incomplete ({fault}): name another checkpoint, or pass True "
            "for the last whole one in output_dir"
        )
    record = trainer.training_run
    check_same_training(settings_of(trainer.args, record.recipe, record.describe(trainer)), output_dir, checkpoint)
    return checkpoint


def forget_earlier_run(output_dir: str | os.PathLike[str]) -> None:
    """Delete the checkpoints and the records of an earlier training; the weights are replaced when this one ends."""
    for folder in checkpoints_in(output_dir):
        shutil.rmtree(folder)
    for name in (ARGUMENTS_FILE, STATE_FILE, TRAINING_RUN_FILE):
        (Path(output_dir) / name).unlink(missing_ok=True)


def _recorded(folder: Path) -> dict[str, Any]:
    run = read_record(folder / TRAINING_RUN_FILE)
    return _joined(read_record(folder / ARGUMENTS_FILE), run.get("recipe") or {}, run)


def _joined(arguments: Mapping[str, Any], recipe: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    known = {option.name for option in fields(OneGenTrainingArguments) if option.init}
    return {
        **{name: arguments[name] for name in known & set(arguments) if not name.startswith(_WITHOUT_EFFECT)},
        **{_RECIPE + name: value for name, value in recipe.items() if name not in known},
        **{name: facts[name] for name in _FACTS if facts.get(name) is not None},
    }


def _recipe_names(settings: Mapping[str, Any], others: Mapping[str, Any]) -> set[str]:
    """The options of a recipe, if both trainings have one."""
    both = [{name for name in values if name.startswith(_RECIPE)} for values in (settings, others)]
    return both[0] if all(both) else set()
