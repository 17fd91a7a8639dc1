"""Two processes over gloo make the step that one process makes with the joined batch."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from support.sample_corpus import build_tokenizer
from support.training_setup import assert_same_weights, dataset, logged, trainer_for, weights

pytestmark = pytest.mark.xdist_group("two processes")

# Examples in order, batch per process, settings. Process 0 takes the first batch, process 1 the second, and so on.
CASES: dict[str, tuple[list[int], int, dict[str, Any]]] = {
    "one step": ([0, 1, 2, 4], 2, {}),
    "two steps": ([0, 1, 2, 4, 5, 7, 3, 6], 2, {"max_steps": 2}),
    "info_nce": ([0, 1, 2, 4], 2, {"contrastive_loss": "info_nce", "lambda_ret": 0.5}),
    # e3 and e6 retrieve nothing, so one process has no passages in this step; the other must not wait for them.
    "one process without passages": ([0, 1, 3, 6], 2, {}),
    "only the language model": ([0, 1, 3, 6], 2, {"lambda_ret": 0.0}),
    "activation checkpointing": ([0, 1, 2, 4], 2, {"gradient_checkpointing": True}),
    "experts": ([0, 1, 2, 4], 2, {"architecture": "mixtral"}),
    "adapter": ([0, 1, 2, 4], 2, {"adapter": True}),
    "stream": ([0, 1, 2, 4, 5, 7, 3, 6], 2, {"stream": True, "max_steps": 2}),
}


def make(case: str, tokenizer: Any, directory: Path, joined: bool) -> Any:
    """The trainer of a case: of one of two processes, or of the one that has both batches."""
    numbers, size, settings = copy.deepcopy(CASES[case])
    if settings.pop("adapter", False):
        from peft import LoraConfig

        settings["peft_config"] = LoraConfig(r=2, target_modules=["q_proj"])
    if settings.pop("stream", False):
        settings["train_dataset"] = dataset(numbers).to_iterable_dataset()
    torch.manual_seed(0)
    return trainer_for(
        tokenizer, directory, numbers, per_device_train_batch_size=2 * size if joined else size,
        per_device_eval_batch_size=2, eval_dataset=dataset(range(8)), **settings,
    )  # fmt: skip


def summary(trainer: Any) -> dict[str, Any]:
    """Weights, log and evaluation after the run."""
    trainer.train()
    log = [
        {
            name: getattr(entry, name)
            for name in ("loss", "loss_gen", "loss_ret", "retrieval_accuracy")
            if hasattr(entry, name)
        }
        for entry in logged(trainer)
    ]
    metrics = {
        name: value for name, value in trainer.evaluate().items() if "runtime" not in name and "second" not in name
    }
    return {"weights": weights(trainer.model), "log": log, "metrics": metrics}


def one_process_of_two(rank: int, directory: str) -> dict[str, Any]:
    """All cases, to start processes only once."""
    tokenizer = build_tokenizer()
    found = {}
    for case in CASES:
        trainer = make(case, tokenizer, Path(directory) / f"{case}-{rank}", joined=False)
        assert trainer.args.world_size == 2 and trainer.args.process_index == rank
        found[case] = summary(trainer)
    return found


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    from support.two_processes import run_together

    directory = tmp_path_factory.mktemp("pair")
    return run_together(one_process_of_two, directory, str(directory))


@pytest.mark.parametrize("case", CASES)
def test_two_processes_equal_one(case: str, pair: list[dict[str, Any]], base_tokenizer: Any, tmp_path: Path) -> None:
    trainer = make(case, base_tokenizer, tmp_path, joined=True)
    before = weights(trainer.model)
    expected = summary(trainer)
    moved = max((before[name] - value).abs().max().item() for name, value in expected["weights"].items())
    assert moved > 1e-3
    assert_same_weights(pair[0][case]["weights"], pair[1][case]["weights"], atol=0.0)
    if case == "experts":
        # The router's loss is a mean over processes of what is not linear in the batch: close, not equal.
        assert_same_weights(pair[0][case]["weights"], expected["weights"], atol=1e-2)
        return
    assert_same_weights(pair[0][case]["weights"], expected["weights"], atol=1e-5)
    found = pair[0][case]["log"]
    assert len(found) == len(expected["log"])
    for ours, theirs in zip(found, expected["log"], strict=True):
        for name in ("loss_gen", "loss_ret", "retrieval_accuracy"):
            assert (name in ours) == (name in theirs)
            if name in ours:
                assert ours[name] == pytest.approx(theirs[name], rel=1e-4), name
        if name in ours:
            assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-4)
    for name in ("eval_loss_gen", "eval_recall@1", "eval_recall@5", "eval_mrr", "eval_num_passages"):
        assert pair[0][case]["metrics"][name] == pytest.approx(expected["metrics"][name], rel=1e-4), name
