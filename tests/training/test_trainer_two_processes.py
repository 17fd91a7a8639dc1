"""Two processes over gloo make the step that one process makes with the joined batch."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from support.fixed_teacher import FixedTeacher
from support.sample_corpus import EXAMPLES, build_tokenizer
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
    "matryoshka": ([0, 1, 2, 4], 2, {"matryoshka_dims": [8]}),
    "distillation": ([0, 1, 2, 4], 2, {"teacher": True, "lambda_distill": 0.5}),
    "distillation, one process without passages": ([0, 1, 3, 6], 2, {"teacher": True}),
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
    teacher = settings.pop("teacher", False)
    torch.manual_seed(0)
    trainer = trainer_for(
        tokenizer, directory, numbers, per_device_train_batch_size=2 * size if joined else size,
        per_device_eval_batch_size=2, eval_dataset=dataset(range(8)), **settings,
    )  # fmt: skip
    if teacher:
        # A process distils over its own passages only, so one process must not know the others' either.
        batches = [numbers[start : start + size] for start in range(0, len(numbers), size)]
        trainer.data_collator.teacher = FixedTeacher(pairs_of(trainer, batches) if joined else None)
    return trainer


def pairs_of(trainer: Any, batches: list[list[int]]) -> set[tuple[str | None, str]]:
    """Every query of a batch with every passage of the same batch."""
    pairs: set[tuple[str | None, str]] = set()

    class Recorder(FixedTeacher):
        def scores(self, queries: Any, passages: Any) -> torch.Tensor:
            pairs.update((query, passage.text) for query in queries for passage in passages)
            return super().scores(queries, passages)

    trainer.data_collator.teacher = Recorder()
    for batch in batches:
        trainer.data_collator([EXAMPLES[number] for number in batch])
    return pairs


def summary(trainer: Any) -> dict[str, Any]:
    """Weights, log and evaluation after the run."""
    trainer.train()
    log = [
        {
            name: getattr(entry, name)
            for name in ("loss", "loss_gen", "loss_ret", "loss_distill", "retrieval_accuracy")
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
        assert ("loss_distill" in ours) == case.startswith("distillation")
        for name in ("loss_gen", "loss_ret", "loss_distill", "retrieval_accuracy"):
            assert (name in ours) == (name in theirs)
            if name in ours:
                assert ours[name] == pytest.approx(theirs[name], rel=1e-4), name
        if name in ours:
            assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-4)
    for name in ("eval_loss_gen", "eval_recall@1", "eval_recall@5", "eval_mrr", "eval_num_passages"):
        assert pair[0][case]["metrics"][name] == pytest.approx(expected["metrics"][name], rel=1e-4), name


UNEVEN = [5, 6, 7]


def evaluate_uneven_sets(rank: int, directory: str) -> dict[str, Any]:
    """Metrics by the number of examples, which two batches of two do not divide."""
    tokenizer = build_tokenizer()
    found = {}
    for number in UNEVEN:
        torch.manual_seed(0)
        trainer = trainer_for(
            tokenizer, Path(directory), eval_dataset=dataset(range(number)), per_device_eval_batch_size=2
        )
        found[str(number)] = trainer.evaluate()
    return found


def test_no_example_counts_twice_in_an_evaluation(tmp_path: Path) -> None:
    from support.two_processes import run_together

    expected = evaluate_uneven_sets(0, str(tmp_path / "one"))
    for found in run_together(evaluate_uneven_sets, tmp_path / "store", str(tmp_path / "two")):
        for number in map(str, UNEVEN):
            for name in ("eval_loss_gen", "eval_recall@1", "eval_recall@5", "eval_mrr", "eval_num_passages"):
                assert found[number][name] == pytest.approx(expected[number][name], rel=1e-4), (number, name)
