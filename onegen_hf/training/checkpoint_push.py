"""`push_checkpoint`: intermediate models go to the Hub while a training runs, and nothing secret with them."""

from __future__ import annotations

import functools
import shutil
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi
from transformers.trainer_utils import HubStrategy, SaveStrategy
from transformers.utils import PushInProgress

from ..hub.layout import MODEL_FILES, matching_files


def push_checkpoint(trainer: Any, checkpoint_folder: str) -> None:
    """
    What `Trainer._push_from_checkpoint` does, without the pickle of the arguments that it would send, which holds
    `hub_token`: only files that belong to a model are sent.

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
    for name in matching_files(Path(checkpoint_folder), MODEL_FILES):
        shutil.copy(Path(checkpoint_folder, name), args.output_dir)
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
    files = list(matching_files(Path(args.output_dir), MODEL_FILES))
    jobs = [upload(folder_path=args.output_dir, allow_patterns=files)]
    if args.hub_strategy in (HubStrategy.CHECKPOINT, HubStrategy.ALL_CHECKPOINTS):
        last = args.hub_strategy == HubStrategy.CHECKPOINT
        folder = "last-checkpoint" if last else Path(checkpoint_folder).name
        jobs.append(upload(folder_path=checkpoint_folder, path_in_repo=folder))
    if busy:
        trainer.push_in_progress.jobs.extend(jobs)
    else:
        trainer.push_in_progress = PushInProgress(jobs)
