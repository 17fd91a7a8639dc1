"""
DeepSpeed's ZeRO-2 and ZeRO-3 over two processes make the step of one process with the joined batch.

DeepSpeed is no requirement of the package. `pip install deepspeed` and `pytest -m deepspeed` run these tests, on CPUs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.sharded_training import NUMBERS, allow_deepspeed_on_cpus, make, trained_weights, zero
from support.training_setup import assert_same_weights, weights

from onegen_hf import OneGenForCausalLM

pytestmark = [pytest.mark.deepspeed, pytest.mark.xdist_group("two processes")]

CASES: dict[str, dict[str, Any]] = {
    "full": {},
    "gradient caching": {"contrastive_chunk_size": 1},
    "accumulation": {"numbers": NUMBERS, "gradient_accumulation_steps": 2},
    "one process without passages": {"numbers": [0, 1, 3, 6]},
    "adapter": {"adapter": True},
}
ON_GPUS_ONLY = {(3, "adapter")}
"""PEFT 0.21 asks for a CUDA device to gather the rows of tokens that it trains."""


def train_all(rank: int, directory: str, stage: int) -> dict[str, Any]:
    """Weights of all cases; one is saved too."""
    allow_deepspeed_on_cpus(rank)
    found = {}
    for case, settings in CASES.items():
        if (stage, case) in ON_GPUS_ONLY:
            continue
        trainer = make(Path(directory) / f"{case}-{rank}", {**settings, **zero(stage)})
        trainer.train()
        found[case] = trained_weights(trainer)
        if case == "full":
            trainer.save_model(str(Path(directory) / "saved"))
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
    if (stage, case) in ON_GPUS_ONLY:
        assert case not in found[0]
        return
    trainer = make(tmp_path, CASES[case], size=4)
    trainer.train()
    for part in found:
        assert_same_weights(part[case], weights(trainer.model), atol=1e-5)


def test_a_plain_checkpoint(trained: tuple[int, Path, list[Any]]) -> None:
    _, directory, found = trained
    assert_same_weights(weights(OneGenForCausalLM.from_pretrained(directory / "saved")), found[0]["full"])
