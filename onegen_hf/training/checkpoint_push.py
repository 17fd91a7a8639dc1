"""`push_checkpoint`: intermediate models go to the Hub while a training runs, and nothing secret with them."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi
from transformers.trainer_utils import HubStrategy, SaveStrategy
from transformers.utils import PushInProgress

from ..hub.layout import MODEL_FILES, RESUME_FILES, is_linked, matching_files


def push_checkpoint(trainer: Any, checkpoint_folder: str) -> None:
    """
    What `Trainer._push_from_checkpoint` does, but with files that are known by name alone: those of a model and, with
    `hub_strategy="checkpoint"` or `"all_checkpoints"`, those that resuming needs. Whatever else lies in the folder
    stays there, such as notes, links, and the pickle of the arguments, which holds `hub_token`.

    Args:
        trainer ([`OneGenTrainer`]): With `push_to_hub=True`.
        checkpoint_folder (`str`): The checkpoint that was just saved.
    """
    args = trainer.args
    if not trainer.is_world_process_zero() or args.hub_strategy == HubStrategy.END:
        return
    busy = trainer.push_in_progress is not None and not trainer.push_in_progress.is_done()
    if busy and not args.hub_always_push:
        return
    trainer.callback_handler.on_push_begin(args, trainer.state, trainer.control)
    # A copy, because `save_total_limit` may delete the checkpoint before it is sent.
    for name in _files(Path(checkpoint_folder), MODEL_FILES):
        target = Path(args.output_dir, name)
        target.parent.mkdir(exist_ok=True)
        shutil.copy(Path(checkpoint_folder, name), target)
    by_step = args.save_strategy == SaveStrategy.STEPS
    when = f"step {trainer.state.global_step}" if by_step else f"epoch {int(trainer.state.epoch)}"
    upload = functools.partial(
        HfApi().upload_folder,
        repo_id=trainer.hub_model_id,
        commit_message=f"Training in progress, {when}",
        token=args.hub_token,
        revision=args.hub_revision,
        run_as_future=True,
    )
    jobs = [upload(folder_path=args.output_dir, allow_patterns=_files(Path(args.output_dir), MODEL_FILES))]
    if args.hub_strategy in (HubStrategy.CHECKPOINT, HubStrategy.ALL_CHECKPOINTS):
        last = args.hub_strategy == HubStrategy.CHECKPOINT
        folder = "last-checkpoint" if last else Path(checkpoint_folder).name
        names = _files(Path(checkpoint_folder), (*MODEL_FILES, *RESUME_FILES))
        jobs.append(upload(folder_path=checkpoint_folder, path_in_repo=folder, allow_patterns=names))
    if busy:
        trainer.push_in_progress.jobs.extend(jobs)
    else:
        trainer.push_in_progress = PushInProgress(jobs)


def _files(folder: Path, patterns: Sequence[str]) -> list[str]:
    return [name for name in matching_files(folder, patterns) if not is_linked(folder, name)]
