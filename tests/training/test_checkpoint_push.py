"""What goes to the Hub while a training runs."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from transformers.trainer_utils import HubStrategy, SaveStrategy

from onegen_hf import OneGenTrainingArguments
from onegen_hf.training import checkpoint_push
from onegen_hf.training.checkpoint_push import push_checkpoint

MODEL = {"config.json", "model.safetensors", "trainer_state.json"}
RESUME = {"optimizer.pt", "scheduler.pt", "rng_state.pth", "rng_state_0.pth", "rng_state_11.pth"}
PRIVATE = {"notes.txt", "training_args.bin", "credentials.json", "rng_state_keys.pth", "secret.pt"}


@pytest.fixture
def pushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, set[str]]:
    """What `upload_folder` would send of each folder, by the place in the repository."""
    sent: dict[str, set[str]] = {}

    class Recorder:
        def upload_folder(
            self, folder_path: str, path_in_repo: str = "", allow_patterns: list[str] | None = None, **_: Any
        ) -> None:
            files = {
                file.relative_to(folder_path).as_posix() for file in Path(folder_path).rglob("*") if file.is_file()
            }
            patterns = ["*"] if allow_patterns is None else allow_patterns
            sent[path_in_repo] = {name for name in files if any(fnmatch(name, pattern) for pattern in patterns)}

    monkeypatch.setattr(checkpoint_push, "HfApi", Recorder)
    monkeypatch.setattr(checkpoint_push, "PushInProgress", lambda jobs: jobs)
    return sent


def push(folder: Path, strategy: HubStrategy) -> None:
    checkpoint = folder / "checkpoint-7"
    (checkpoint / "inner").mkdir(parents=True)
    for name in {*MODEL, *RESUME, *PRIVATE, "inner/more.txt"}:
        (checkpoint / name).write_text(name)
    (folder / "elsewhere.pt").write_text("private")
    (checkpoint / "scaler.pt").symlink_to(folder / "elsewhere.pt")
    args = SimpleNamespace(
        output_dir=str(folder), hub_strategy=strategy, hub_always_push=True, hub_token=None, hub_revision=None,
        save_strategy=SaveStrategy.STEPS,
    )  # fmt: skip
    trainer = SimpleNamespace(
        args=args, state=SimpleNamespace(global_step=7, epoch=1.0), control=None, push_in_progress=None,
        is_world_process_zero=lambda: True, hub_model_id="org/model",
        callback_handler=SimpleNamespace(on_push_begin=lambda *_: None),
    )  # fmt: skip
    push_checkpoint(trainer, str(checkpoint))


@pytest.mark.parametrize(
    ("strategy", "place"),
    [(HubStrategy.CHECKPOINT, "last-checkpoint"), (HubStrategy.ALL_CHECKPOINTS, "checkpoint-7")],
)
def test_of_a_checkpoint_only_named_files_are_sent(
    pushed: dict[str, set[str]], tmp_path: Path, strategy: HubStrategy, place: str
) -> None:
    push(tmp_path, strategy)
    assert pushed == {"": MODEL, place: MODEL | RESUME}


def test_every_save_sends_the_model_alone(pushed: dict[str, set[str]], tmp_path: Path) -> None:
    push(tmp_path, HubStrategy.EVERY_SAVE)
    assert pushed == {"": MODEL}


def test_a_sharded_state_is_not_sent_half(tmp_path: Path) -> None:
    options: dict[str, Any] = {"push_to_hub": True, "fsdp": "full_shard", "use_cpu": True, "report_to": "none"}
    with pytest.raises(ValueError, match="hub_strategy='checkpoint' sends .* FSDP .* choose 'every_save'"):
        OneGenTrainingArguments(str(tmp_path), hub_strategy="checkpoint", **options)
