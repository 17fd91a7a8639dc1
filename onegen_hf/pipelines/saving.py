"""`SavedWithIndex`: saves and uploads a pipeline together with its index."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from huggingface_hub import CommitInfo

from ..cards.training_record import base_model_of
from ..checks import check_folder
from ..hub.commit import check_repo_id
from ..modeling.auto import UPLOAD_OPTIONS

INDEX_FOLDER = "./index"


class SavedWithIndex:
    """Mixin for a `Pipeline` with an `index`; list it before `Pipeline` among the bases."""

    model: Any
    index: Any

    def save_pretrained(
        self, save_directory: str | os.PathLike[str], push_to_hub: bool = False, **kwargs: Any
    ) -> None:
        """
        Save model, tokenizer and index; `pipeline(task, model=save_directory)` then needs no other argument.

        The index goes into the folder that `default_index` names, by default `./index`. If `default_index` is a
        separate repository, the index stays there.

        Args:
            save_directory (`str` or path)
            push_to_hub (`bool`, *optional*, defaults to `False`): Upload the result to `repo_id` (by default the
                name of the directory).
            kwargs: `repo_id`, and arguments of `push_to_hub` and `PreTrainedModel.save_pretrained`.
        """
        check_folder("save_directory", save_directory)
        repo_id = kwargs.pop("repo_id", None)
        upload = {name: kwargs.pop(name) for name in UPLOAD_OPTIONS if name in kwargs}
        settings = self.model.onegen_config
        location = settings.default_index or INDEX_FOLDER
        beside = location.startswith("./")
        if beside:
            self.model.set_onegen_config(dataclasses.replace(settings, default_index=location))
        try:
            super().save_pretrained(save_directory, **kwargs)  # type: ignore[misc]
        finally:
            self.model.set_onegen_config(settings)
        if beside:
            self.index.save(Path(save_directory) / location)
        if push_to_hub:
            upload |= {name: kwargs[name] for name in ("max_shard_size",) if name in kwargs}
            self.push_to_hub(repo_id or Path(save_directory).name, **upload)

    def push_to_hub(
        self,
        repo_id: str,
        max_shard_size: int | str = "50GB",
        tags: Sequence[str] | None = None,
        **commit: Any,
    ) -> CommitInfo:
        """
        Upload model, tokenizer, index and model card to the Hub in one commit.

        Args:
            repo_id (`str`): Such as `"organisation/name"`; created if it is missing.
            max_shard_size (`int` or `str`, *optional*, defaults to `"50GB"`): Maximum size of a weight file.
            tags (`Sequence[str]`, *optional*): Further tags of the card.
            commit: As for [`~onegen_hf.hub.Upload.push`]: `private`, `token`, `revision`, `commit_message`, ...

        Returns:
            `huggingface_hub.CommitInfo`
        """
        from ..hub import model_upload  # which comes after the pipelines in the flow of data

        check_repo_id(repo_id)
        base_model = base_model_of(self.model)
        with TemporaryDirectory() as directory:
            self.save_pretrained(directory, max_shard_size=max_shard_size)
            upload = model_upload(
                directory, repo_id, base_model=None if base_model == repo_id else base_model, tags=list(tags or ())
            )
            return upload.push(**commit)
