"""A folder that holds a training: the same one is resumed, another one is refused by name."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
from support.training_setup import assert_same_weights, trainer_for, weights

from onegen_hf.files import FolderLockedError, locked_folder

SAVING: dict[str, Any] = dict(max_steps=2, save_strategy="steps", save_steps=1)


@pytest.fixture(scope="module")
def finished(base_tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished training; not to be changed."""
    folder = tmp_path_factory.mktemp("earlier") / "run"
    trainer = trainer_for(base_tokenizer, folder, **SAVING)
    trainer.train()
    trainer.save_model()
    return folder


@pytest.fixture
def earlier(finished: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


@pytest.mark.parametrize("resume", [None, True])
@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"learning_rate": 0.05}, r"learning_rate=0.05 \(there: 0.01\)"),
        ({"lambda_ret": 0.0}, r"lambda_ret=0.0 \(there: 1.0\)"),
        ({"contrastive_loss": "info_nce"}, r"contrastive_loss='info_nce' \(there: 'bpr'\)"),
        ({"max_steps": 6}, r"max_steps=6 \(there: 2\)"),
        ({"per_device_train_batch_size": 3}, r"per_device_train_batch_size=3 \(there: 8\)"),
        ({"numbers": range(5)}, r"examples=5 \(there: 8\)"),
        ({"architecture": "llama_untied"}, r"parameters=\d+ \(there: \d+\)"),
    ],
)
def test_other_settings_are_refused_by_name(
    resume: Any, changes: dict[str, Any], named: str, earlier: Path, base_tokenizer: Any
) -> None:
    before = {file: file.read_bytes() for file in earlier.rglob("*.*") if file.is_file()}
    trainer = trainer_for(base_tokenizer, earlier, **{**SAVING, **changes})
    with pytest.raises(ValueError, match=named + ".*Give another output_dir.*overwrite_output_dir=True"):
        trainer.train(resume_from_checkpoint=resume)
    assert {file: file.read_bytes() for file in earlier.rglob("*.*") if file.is_file()} == before


@pytest.mark.parametrize("resume", [None, True])
def test_the_same_settings_go_on(resume: Any, earlier: Path, base_tokenizer: Any) -> None:
    # How it is shown and evaluated is no matter.
    options = {**SAVING, "disable_tqdm": False, "logging_steps": 2, "per_device_eval_batch_size": 3}
    first = trainer_for(base_tokenizer, earlier, **options)
    first.train(resume_from_checkpoint=resume)
    assert first.state.global_step == 2
    again = trainer_for(base_tokenizer, earlier / "other", **SAVING)
    again.train()
    assert_same_weights(weights(first.model), weights(again.model))


def test_a_training_without_checkpoints_is_not_replaced_silently(base_tokenizer: Any, tmp_path: Path) -> None:
    trainer = trainer_for(base_tokenizer, tmp_path)
    trainer.train()
    trainer.save_model()
    with pytest.raises(ValueError, match=r"lambda_ret=0.5 \(there: 1.0\)"):
        trainer_for(base_tokenizer, tmp_path, lambda_ret=0.5).train()


def test_a_named_checkpoint_is_resumed_with_other_settings_and_that_is_recorded(
    earlier: Path, base_tokenizer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    trainer = trainer_for(base_tokenizer, earlier, **{**SAVING, "max_steps": 3})
    trainer.train(resume_from_checkpoint=str(earlier / "checkpoint-2"))
    assert trainer.state.global_step == 3 and "max_steps=3 (there: 2)" in caplog.text
    trainer.save_model()
    assert json.loads((earlier / "training_run.json").read_text())["changed_on_resuming"] == {"max_steps": 2}


def test_overwriting(earlier: Path, base_tokenizer: Any) -> None:
    trainer = trainer_for(
        base_tokenizer, earlier, **{**SAVING, "max_steps": 1, "lambda_ret": 0.5}, overwrite_output_dir=True
    )
    trainer.train()
    assert [folder.name for folder in earlier.glob("checkpoint-*")] == ["checkpoint-1"]
    resumed = trainer_for(base_tokenizer, earlier, **{**SAVING, "max_steps": 1, "lambda_ret": 0.5})
    resumed.train(resume_from_checkpoint=True)
    assert_same_weights(weights(resumed.model), weights(trainer.model))


def test_a_folder_in_which_another_training_writes(base_tokenizer: Any, tmp_path: Path) -> None:
    trainer, locked, release = trainer_for(base_tokenizer, tmp_path), threading.Event(), threading.Event()

    def other() -> None:
        with locked_folder(tmp_path, "training"):
            locked.set()
            release.wait(30)

    thread = threading.Thread(target=other)
    thread.start()
    locked.wait(30)
    try:
        with pytest.raises(FolderLockedError, match="another process is writing"):
            trainer.train()
    finally:
        release.set()
        thread.join()
    trainer.train()
    assert not list(tmp_path.glob(".lock"))
