"""FSDP2 over two processes makes the step of one process with the joined batch, and saves plain checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support.sharded_training import (
    NUMBERS,
    allow_sharding_on_cpus,
    kill_at_step,
    make,
    trained_weights,
    with_fsdp,
)
from support.training_setup import assert_same_weights, logged, trainer_for, weights

from onegen_hf import OneGenForCausalLM
from onegen_hf.training.lost_process import ProcessLostError, lost_process_explained

pytestmark = pytest.mark.xdist_group("two processes")

CASES: dict[str, dict[str, Any]] = {
    "full": {},
    "adapter": {"adapter": True},
    "activation checkpointing": {"activation_checkpointing": True},
    "gradient caching": {"contrastive_chunk_size": 1},
    "gradient caching of an adapter": {"contrastive_chunk_size": 1, "adapter": True},
    "accumulation": {"numbers": NUMBERS, "gradient_accumulation_steps": 2},
    # e3 and e6 retrieve nothing, so one process has no passages in this step.
    "one process without passages": {"numbers": [0, 1, 3, 6]},
    "one process without passages, chunks": {"numbers": [0, 1, 3, 6], "contrastive_chunk_size": 1},
    "without packing": {"numbers": [0, 1, 3, 6], "attention": "eager"},
    "a window": {"architecture": "mistral", "numbers": [0, 1, 3, 6]},
    "fused loss": {"fused": True},
    "fused loss of an untied head": {"fused": True, "architecture": "llama_untied"},
    "fused loss of an adapter": {"fused": True, "adapter": True, "architecture": "llama_untied"},
}
OF_FSDP = ("activation_checkpointing",)
ONLY_OF_TWO = (*OF_FSDP, "fused")
SAVING: dict[str, Any] = {
    "numbers": NUMBERS, "max_steps": 3, "save_strategy": "steps", "save_steps": 2, "optim": "adamw_torch",
    "train_sampling_strategy": "random", "num_hard_negatives": 1,
}  # fmt: skip


def settings_of(case: str, sharded: bool) -> dict[str, Any]:
    settings = {name: value for name, value in CASES[case].items() if name not in ONLY_OF_TWO}
    if not sharded:
        return settings
    settings["fused"] = CASES[case].get("fused", False)
    return {**settings, **with_fsdp(**{name: value for name, value in CASES[case].items() if name in OF_FSDP})}


def train_all(rank: int, directory: str) -> dict[str, Any]:
    """Weights and log of all cases, to start processes only once."""
    allow_sharding_on_cpus()
    found = {}
    for case in CASES:
        trainer = make(Path(directory) / f"{case}-{rank}", settings_of(case, sharded=True))
        trainer.train()
        entry = logged(trainer)[-1]
        found[case] = {"weights": trained_weights(trainer), "loss": entry.loss, "loss_ret": entry.loss_ret}
        assert any(hasattr(parameter, "full_tensor") for parameter in trainer.model_wrapped.parameters())
    return found


def save(rank: int, directory: str) -> dict[str, Any]:
    """Trainings that save: with full and with sharded state dicts, all weights and an adapter."""
    allow_sharding_on_cpus()
    found = {}
    for kind in ("FULL_STATE_DICT", "SHARDED_STATE_DICT"):
        for adapter in (False, True):
            name = f"{kind}-{adapter}"
            folder = Path(directory) / name
            trainer = make(folder, {**SAVING, "adapter": adapter, **with_fsdp(state_dict_type=kind)})
            trainer.train()
            trainer.save_model()
            found[name] = trained_weights(trainer)
            metrics = trainer.evaluate(trainer.train_dataset)
            assert metrics["eval_num_passages"] > 3
    return found


def end_early(rank: int, directory: str) -> dict[str, Any]:
    """Process 1 dies in its third step; the other says so."""
    allow_sharding_on_cpus()
    trainer = make(Path(directory), {**SAVING, **with_fsdp()})
    if rank == 1:
        kill_at_step(trainer, 2)
    try:
        trainer.train()
    except ProcessLostError as error:
        Path(f"{directory}.error").write_text(str(error), encoding="utf-8")
        raise
    return {}


def resume(rank: int, directory: str) -> dict[str, Any]:
    """Go on in each folder from what is there."""
    allow_sharding_on_cpus()
    found = {}
    for name, settings in {
        "killed": with_fsdp(),
        "SHARDED_STATE_DICT-False": with_fsdp(state_dict_type="SHARDED_STATE_DICT"),
        "SHARDED_STATE_DICT-True": {"adapter": True, **with_fsdp(state_dict_type="SHARDED_STATE_DICT")},
        "FULL_STATE_DICT-True": {"adapter": True, **with_fsdp()},
    }.items():
        folder = Path(directory) / name
        trainer = make(folder, {**SAVING, **settings})
        steps: list[int] = []
        step = trainer.training_step
        trainer.training_step = lambda *args, step=step, steps=steps, **kwargs: (
            steps.append(1),
            step(*args, **kwargs),
        )[1]
        trainer.train(resume_from_checkpoint=str(folder / "checkpoint-2"))
        found[name] = {"weights": trained_weights(trainer), "steps": len(steps)}
    return found


def run(function: Any, store: Path, directory: Path) -> list[Any]:
    from support.two_processes import run_together

    return run_together(function, store, str(directory))


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    directory = tmp_path_factory.mktemp("fsdp")
    return run(train_all, directory / "store", directory)


@pytest.mark.parametrize("case", CASES)
def test_two_processes_equal_one(case: str, pair: list[dict[str, Any]], tmp_path: Path) -> None:
    trainer = make(tmp_path, settings_of(case, sharded=False), size=4)
    before = weights(trainer.model)
    trainer.train()
    expected = weights(trainer.model)
    assert max((before[name] - value).abs().max().item() for name, value in expected.items()) > 1e-4
    for part in pair:
        assert_same_weights(part[case]["weights"], expected, atol=1e-5)
    if case != "accumulation":  # whose micro-batches have other negatives
        assert pair[0][case]["loss"] == pytest.approx(logged(trainer)[-1].loss, rel=1e-4)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    directory = tmp_path_factory.mktemp("saved")
    return directory, run(save, directory / "store", directory)


@pytest.mark.parametrize("kind", ["FULL_STATE_DICT", "SHARDED_STATE_DICT"])
def test_a_plain_checkpoint(kind: str, saved: Any) -> None:
    directory, found = saved
    model = OneGenForCausalLM.from_pretrained(directory / f"{kind}-False")
    assert_same_weights(weights(model), found[0][f"{kind}-False"])
    files = load_file(directory / f"{kind}-False" / "model.safetensors")
    assert "lm_head.weight" not in files  # tied


@pytest.mark.parametrize("kind", ["FULL_STATE_DICT", "SHARDED_STATE_DICT"])
def test_a_plain_adapter(kind: str, saved: Any) -> None:
    directory, found = saved
    files = load_file(directory / f"{kind}-True" / "adapter_model.safetensors")
    trained = {name.replace(".default", ""): value for name, value in found[0][f"{kind}-True"].items()}
    assert len(files) == 2 * 2 * 2 + 1 and not any(hasattr(value, "full_tensor") for value in files.values())
    for name, value in files.items():
        torch.testing.assert_close(value.float(), trained[name], msg=name)


def test_a_killed_run_says_so_and_goes_on(saved: Any) -> None:
    directory, found = saved
    with pytest.raises(Exception, match="another of the 2 processes"):
        run(end_early, directory / "killed-store", directory / "killed")
    message = (directory / "killed.error").read_text(encoding="utf-8")
    assert "another of the 2 processes" in message and "checkpoint-2" in message
    resumed = run(resume, directory / "resumed-store", directory)
    for name, part in resumed[0].items():
        assert part["steps"] == 1, name
        reference = "FULL_STATE_DICT-False" if name == "killed" else name
        assert_same_weights(part["weights"], found[0][reference], atol=1e-5)


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    for message, processes in (("shapes differ", 2), ("Connection closed by peer", 1)):
        with pytest.raises(RuntimeError, match=message), lost_process_explained(tmp_path, processes):
            raise RuntimeError(message)
    with pytest.raises(ProcessLostError, match="starts afresh"), lost_process_explained(tmp_path, 2):
        raise RuntimeError("Connection closed by peer")


def test_where_nothing_would_be_sharded(base_tokenizer: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="fsdp only works in distributed training"):
        trainer_for(base_tokenizer, tmp_path, **with_fsdp())


def ask_for_fsdp_on_cpus(rank: int, directory: str) -> dict[str, Any]:
    with pytest.raises(ValueError, match="fsdp shards nothing here: accelerate runs MULTI_CPU on cpu"):
        make(Path(directory), with_fsdp())
    return {}


def test_fsdp_that_accelerate_would_leave_out(tmp_path: Path) -> None:
    run(ask_for_fsdp_on_cpus, tmp_path / "store", tmp_path)
