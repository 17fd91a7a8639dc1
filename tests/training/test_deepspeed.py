"""
DeepSpeed's ZeRO-2 and ZeRO-3 over two processes make the step of one process with the joined batch.

DeepSpeed is no requirement of the package. `pip install deepspeed` and `pytest -m deepspeed` run these tests, on CPUs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from support.sharded_training import NUMBERS, allow_deepspeed_on_cpus, count_steps, make, trained_weights, zero
from support.training_setup import assert_same_weights, weights

from onegen_hf import OneGenForCausalLM

pytestmark = [pytest.mark.deepspeed, pytest.mark.xdist_group("two processes")]

CASES: dict[str, dict[str, Any]] = {
    "full": {},
    "gradient caching": {"contrastive_chunk_size": 1},
    "accumulation": {"numbers": NUMBERS, "gradient_accumulation_steps": 2},
    "one process without passages": {"numbers": [0, 1, 3, 6]},
    "adapter": {"adapter": True},
    "fused loss": {"fused": True},
    "optimizer on the CPU": {},
    "weights on the CPU": {},
}
OFFLOADED: dict[str, dict[str, Any]] = {
    "optimizer on the CPU": {"offload_optimizer": {"device": "cpu"}},
    "weights on the CPU": {"offload_optimizer": {"device": "cpu"}, "offload_param": {"device": "cpu"}},
}
SAVING: dict[str, Any] = {
    "numbers": NUMBERS, "max_steps": 3, "save_strategy": "steps", "save_steps": 2, "optim": "adamw_torch",
    "train_sampling_strategy": "random", "num_hard_negatives": 1,
}  # fmt: skip
METRICS = ("eval_loss_gen", "eval_loss_ret", "eval_mrr")
NOT_HERE = {
    (3, "adapter"): "PEFT 0.21 asks for a CUDA device to gather the rows of tokens that it trains",
    (3, "fused loss"): "DeepSpeed replaces torch's matrix product, so the loss comes from logits",
    (2, "weights on the CPU"): "weights that each process holds whole stay where they are",
}


def train_all(rank: int, directory: str, stage: int) -> dict[str, Any]:
    """Weights of all cases; one is saved too."""
    allow_deepspeed_on_cpus(rank)
    found = {}
    for case, settings in CASES.items():
        if (stage, case) in NOT_HERE:
            continue
        offloaded = OFFLOADED.get(case, {})
        trainer = make(Path(directory) / f"{case}-{rank}", {**settings, **zero(stage, **offloaded)})
        trainer.train()
        found[case] = trained_weights(trainer)
        if case == "full":
            trainer.save_model(str(Path(directory) / "saved"))
    for name, adapter in (("run", False), ("run of an adapter", True)):
        if adapter and (stage, "adapter") in NOT_HERE:
            continue
        settings = {**SAVING, "adapter": adapter, **zero(stage)}
        trainer = make(Path(directory) / name, settings)
        trainer.train()
        found[name] = trained_weights(trainer)
        metrics = trainer.evaluate(trainer.train_dataset)
        assert metrics["eval_num_passages"] > 3
        trainer.save_model()
        trainer = make(Path(directory) / name, settings)
        steps = count_steps(trainer)
        trainer.train(resume_from_checkpoint=str(Path(directory) / name / "checkpoint-2"))
        assert len(steps) == 1
        found[f"{name}, resumed"] = trained_weights(trainer)
        found[f"{name}, metrics"] = {name: metrics[name] for name in METRICS}
    return found


@pytest.fixture(scope="module", params=[2, 3], ids=["zero2", "zero3"])
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[int, Path, list[Any]]:
    from support.two_processes import run_together

    directory = tmp_path_factory.mktemp("deepspeed")
    found = run_together(train_all, directory / "store", str(directory), request.param, timeout=600)
    return request.param, directory, found


@pytest.mark.parametrize("case", CASES)
def test_two_processes_equal_one(case: str, trained: tuple[int, Path, list[Any]], tmp_path: Path) -> None:
    stage, _, found = trained
    if (stage, case) in NOT_HERE:
        assert case not in found[0]
        return
    trainer = make(tmp_path, {name: value for name, value in CASES[case].items() if name != "fused"}, size=4)
    trainer.train()
    for part in found:
        assert_same_weights(part[case], weights(trainer.model), atol=1e-5)


def test_a_plain_checkpoint(trained: tuple[int, Path, list[Any]]) -> None:
    _, directory, found = trained
    assert_same_weights(weights(OneGenForCausalLM.from_pretrained(directory / "saved")), found[0]["full"])


@pytest.mark.parametrize("name", ["run", "run of an adapter"])
def test_a_run_goes_on_and_is_evaluated(name: str, trained: tuple[int, Path, list[Any]]) -> None:
    stage, directory, found = trained
    if name not in found[0]:
        assert (stage, "adapter") in NOT_HERE
        return
    assert_same_weights(found[0][f"{name}, resumed"], found[0][name], atol=1e-5)
    if name == "run":
        assert_same_weights(weights(OneGenForCausalLM.from_pretrained(directory / name)), found[0][name], atol=1e-6)
    else:
        files = load_file(directory / name / "adapter_model.safetensors")
        expected = {part.replace(".default", ""): value for part, value in found[0][name].items()}
        assert_same_weights(files, {part: expected[part] for part in files})
        assert len(files) == 2 * 2 * 2 + 1
    assert all(0 < value < 100 for value in found[0][f"{name}, metrics"].values())
