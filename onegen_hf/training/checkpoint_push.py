"""`CheckpointPushMixin`: intermediate models go to the Hub while a training runs, and nothing secret with them."""

from __future__ import annotations

import functools
import shutil
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi
from transformers.trainer_utils import HubStrategy, SaveStrategy
from transformers.utils import PushInProgress

MODEL_FILES = ("*.safetensors", "*.json", "*.jinja", "*.model", "merges.txt", "vocab.txt", "modeling_onegen.py")


class CheckpointPushMixin:
    """For a `Trainer` with `push_to_hub=True`; stands before it among the bases."""

    args: Any
    state: Any
    control: Any
    callback_handler: Any
    hub_model_id: str
    push_in_progress: Any

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        """
        As in `Trainer`, which would also pickle the training arguments, with `hub_token` among them, and push that.
        """
        args = self.args
        if not self.is_world_process_zero() or args.hub_strategy == HubStrategy.END:  # type: ignore[attr-defined]
            return
        busy = self.push_in_progress is not None and not self.push_in_progress.is_done()
        if busy and not args.hub_always_push:
            return
        self.callback_handler.on_push_begin(args, self.state, self.control)
        # A copy, because `save_total_limit` may delete the checkpoint before it is sent.
        for file in Path(checkpoint_folder).iterdir():
            if any(fnmatch(file.name, pattern) for pattern in MODEL_FILES):
                shutil.copy(file, args.output_dir)
        by_step = args.save_strategy == SaveStrategy.STEPS
        when = f"step {self.state.global_step}" if by_step else f"epoch {int(self.state.epoch)}"
        upload = functools.partial(
            HfApi().upload_folder,
            repo_id=self.hub_model_id,
            commit_message=f"Training in progress, {when}",
            token=args.hub_token,
            revision=args.hub_revision,
            run_as_future=True,
        )
        jobs = [upload(folder_path=args.output_dir, allow_patterns=list(MODEL_FILES))]
        if args.hub_strategy in (HubStrategy.CHECKPOINT, HubStrategy.ALL_CHECKPOINTS):
            last = args.hub_strategy == HubStrategy.CHECKPOINT
            folder = "last-checkpoint" if last else Path(checkpoint_folder).name
            jobs.append(upload(folder_path=checkpoint_folder, path_in_repo=folder))
        if busy:
            self.push_in_progress.jobs.extend(jobs)
        else:
            self.push_in_progress = PushInProgress(jobs)
