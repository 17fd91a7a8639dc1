"""A training that was killed goes on with all that its last whole checkpoint holds."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
from peft import LoraConfig
from support.tiny_models import MIXTURES
from support.training_setup import assert_same_weights, dataset, logged, trainer_for, weights

from onegen_hf import OneGenForCausalLM
from onegen_hf.training.resuming import last_whole_checkpoint


@pytest.mark.parametrize("architecture", ["llama_tied", *MIXTURES])
def test_resuming_gives_the_weights_of_an_uninterrupted_run(
    architecture: str, base_tokenizer: Any, tmp_path: Path
) -> None:
    kwargs: dict[str, Any] = dict(
        architecture=architecture, max_steps=6, per_device_train_batch_size=2, train_sampling_strategy="random",
        optim="adamw_torch", learning_rate=1e-3, num_hard_negatives=1, num_random_negatives=2,
        save_strategy="steps", save_steps=4,
    )  # fmt: skip
    whole = trainer_for(base_tokenizer, tmp_path / "run", **kwargs)
    whole.train()
    checkpoint = tmp_path / "run" / "checkpoint-4"
    resumed = trainer_for(base_tokenizer, tmp_path / "other", **kwargs)
    resumed.train(resume_from_checkpoint=str(checkpoint))
    assert resumed.state.global_step == 6
    assert_same_weights(weights(resumed.model), weights(whole.model), atol=1e-7)
    for name in ("loss_gen", "loss_ret"):
        pairs = [[getattr(e, name) for e in logged(t)[-2:]] for t in (whole, resumed)]
        assert pairs[0] == pytest.approx(pairs[1], rel=1e-5)


@pytest.mark.parametrize("architecture", ["llama_tied", *MIXTURES])
def test_the_best_model_is_loaded_at_the_end(architecture: str, base_tokenizer: Any, tmp_path: Path) -> None:
    # Here the highest loss counts as the best, so that it is not that of the last checkpoint.
    trainer = trainer_for(
        base_tokenizer, tmp_path, architecture=architecture, eval_dataset=dataset(), max_steps=3,
        save_strategy="steps", save_steps=1, eval_strategy="steps", eval_steps=1, load_best_model_at_end=True,
        greater_is_better=True,
    )  # fmt: skip
    trainer.train()
    best = tmp_path / "checkpoint-1"
    assert trainer.state.best_model_checkpoint == str(best)
    assert_same_weights(weights(trainer.model), weights(OneGenForCausalLM.from_pretrained(best)))


@pytest.mark.parametrize("architecture", ["llama_tied", "mixtral"])
def test_resuming_from_a_checkpoint_in_shards(architecture: str, base_tokenizer: Any, tmp_path: Path) -> None:
    kwargs: dict[str, Any] = dict(architecture=architecture, max_steps=2, save_strategy="steps", save_steps=1)
    whole = trainer_for(base_tokenizer, tmp_path, **kwargs)
    whole.train()
    checkpoint = tmp_path / "checkpoint-1"
    model = OneGenForCausalLM.from_pretrained(checkpoint)
    (checkpoint / "model.safetensors").unlink()
    model.save_pretrained(checkpoint, max_shard_size="20KB")
    assert len(list(checkpoint.glob("model-*.safetensors"))) > 1
    resumed = trainer_for(base_tokenizer, tmp_path / "other", **kwargs)
    resumed.train(resume_from_checkpoint=str(checkpoint))
    assert_same_weights(weights(resumed.model), weights(whole.model), atol=1e-7)


@pytest.mark.parametrize("damage", ["missing", "truncated"])
def test_a_checkpoint_that_a_kill_left_half_written_is_passed_over(
    damage: str, base_tokenizer: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kwargs: dict[str, Any] = dict(max_steps=3, save_strategy="steps", save_steps=1)
    whole = trainer_for(base_tokenizer, tmp_path, **kwargs)
    whole.train()
    state = tmp_path / "checkpoint-3" / "trainer_state.json"  # the last file of a checkpoint
    if damage == "missing":
        state.unlink()
        (tmp_path / "checkpoint-3" / "optimizer.pt").unlink()
    else:
        state.write_bytes(state.read_bytes()[:100])
    resumed = trainer_for(base_tokenizer, tmp_path, **kwargs)
    with caplog.at_level(logging.WARNING):
        resumed.train(resume_from_checkpoint=True)
    assert "checkpoint-3 is incomplete" in caplog.text
    assert [entry.step for entry in logged(resumed)] == [1, 2, 3]
    assert_same_weights(weights(resumed.model), weights(whole.model))
    assert last_whole_checkpoint(tmp_path) == str(tmp_path / "checkpoint-3")


DAMAGE: dict[str, tuple[str, Any]] = {
    "weights cut short": ("model.safetensors", lambda content: content[:-100]),
    "weights never flushed": ("model.safetensors", lambda content: bytes(len(content))),
    "weights missing": ("model.safetensors", None),
    "optimizer cut short": ("optimizer.pt", lambda content: content[: len(content) // 2]),
    "optimizer with a hole": ("optimizer.pt", lambda content: content[:3000] + bytes(500) + content[3500:]),
    "optimizer missing": ("optimizer.pt", None),
    "scheduler empty": ("scheduler.pt", lambda content: b""),
    "scheduler missing": ("scheduler.pt", None),
    "state cut short": ("trainer_state.json", lambda content: content[:-10]),
    "state missing": ("trainer_state.json", None),
}


@pytest.fixture(scope="module")
def finished(base_tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run with a checkpoint at each of its three steps."""
    directory = tmp_path_factory.mktemp("finished")
    trainer_for(
        base_tokenizer, directory, max_steps=3, save_strategy="steps", save_steps=1, optim="adamw_torch"
    ).train()
    return directory


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_checkpoint_is_passed_over_for_the_last_whole_one(
    case: str, finished: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(finished, tmp_path / "run")
    assert last_whole_checkpoint(tmp_path / "run") == str(tmp_path / "run" / "checkpoint-3")
    name, damage = DAMAGE[case]
    file = tmp_path / "run" / "checkpoint-3" / name
    if damage is None:
        file.unlink()
    else:
        file.write_bytes(damage(file.read_bytes()))
    assert last_whole_checkpoint(tmp_path / "run") == str(tmp_path / "run" / "checkpoint-2")
    assert "checkpoint-3 is incomplete" in caplog.text and "passed over" in caplog.text


def test_a_named_checkpoint_that_is_damaged_is_refused(finished: Path, base_tokenizer: Any, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "run")
    checkpoint = tmp_path / "run" / "checkpoint-2"
    (checkpoint / "optimizer.pt").unlink()
    trainer = trainer_for(base_tokenizer, tmp_path / "run", max_steps=3, optim="adamw_torch")
    with pytest.raises(ValueError, match=r"incomplete \(optimizer.pt is missing\): name another"):
        trainer.train(resume_from_checkpoint=str(checkpoint))


def test_folders_that_are_no_checkpoints(finished: Path, tmp_path: Path) -> None:
    assert last_whole_checkpoint(tmp_path / "nowhere") is None
    shutil.copytree(finished / "checkpoint-2", tmp_path / "checkpoint-2")
    shutil.copytree(finished / "checkpoint-2", tmp_path / "checkpoint-10")
    (tmp_path / "checkpoint-40").mkdir()
    (tmp_path / "checkpoint-best").mkdir()
    (tmp_path / "checkpoint-50").write_text("a file")
    assert last_whole_checkpoint(tmp_path) == str(tmp_path / "checkpoint-10")


def test_the_checkpoints_of_an_adapter(base_tokenizer: Any, tmp_path: Path) -> None:
    trainer_for(
        base_tokenizer, tmp_path, max_steps=2, save_strategy="steps", save_steps=1,
        peft_config=LoraConfig(r=2, target_modules=["q_proj"]),
    ).train()  # fmt: skip
    assert last_whole_checkpoint(tmp_path) == str(tmp_path / "checkpoint-2")
    weights_file = tmp_path / "checkpoint-2" / "adapter_model.safetensors"
    weights_file.write_bytes(weights_file.read_bytes()[:-1])
    assert last_whole_checkpoint(tmp_path) == str(tmp_path / "checkpoint-1")


def test_nothing_to_go_on_from(base_tokenizer: Any, tmp_path: Path) -> None:
    (tmp_path / "checkpoint-1").mkdir()
    with pytest.raises(ValueError, match="no whole checkpoint"):
        trainer_for(base_tokenizer, tmp_path).train(resume_from_checkpoint=True)
