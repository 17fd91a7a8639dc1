"""A tokenizer, a tiny model and a trainer that makes plain SGD steps, so that a step shows the gradient."""

from __future__ import annotations

import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from datasets import Dataset

from onegen_hf import OneGenTrainer, OneGenTrainingArguments
from support.sample_corpus import DOCUMENTS, EXAMPLES
from support.tiny_models import tiny_model

LEARNING_RATE = 0.01
QUIET: dict[str, Any] = dict(use_cpu=True, report_to=[], save_strategy="no", disable_tqdm=True, logging_steps=1)
PLAIN_SGD: dict[str, Any] = dict(
    **QUIET, optim="sgd", learning_rate=LEARNING_RATE, lr_scheduler_type="constant", max_grad_norm=0.0, max_steps=1,
    train_sampling_strategy="sequential", num_hard_negatives=9,  # all there are: nothing is drawn
)  # fmt: skip


def dataset(numbers: Any = range(8)) -> Dataset:
    """Rows of the `examples` configuration."""
    return Dataset.from_list([EXAMPLES[n] for n in numbers])


def trainer_for(
    base_tokenizer: Any,
    directory: Path,
    numbers: Any = range(8),
    architecture: str = "llama_tied",
    model: Any = None,
    **kwargs: Any,
) -> OneGenTrainer:
    """A trainer over a fresh tiny model; arguments that are no settings of the run go to the trainer."""
    tokenizer = copy.deepcopy(base_tokenizer)
    fresh = tiny_model(tokenizer, architecture, seed=1)
    extra = {name: kwargs.pop(name) for name in ("eval_dataset", "peft_config", "callbacks") if name in kwargs}
    train = kwargs.pop("train_dataset", None)
    args = OneGenTrainingArguments(str(directory), **{**PLAIN_SGD, **kwargs})
    return OneGenTrainer(
        model=fresh if model is None else model, args=args,
        train_dataset=dataset(numbers) if train is None else train, documents=DOCUMENTS,
        processing_class=tokenizer, **extra,
    )  # fmt: skip


def weights(model: Any) -> dict[str, torch.Tensor]:
    """A copy of all parameters."""
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def assert_same_weights(found: dict[str, Any], expected: dict[str, Any], atol: float = 1e-6) -> None:
    """Compare by name."""
    assert found.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(
            found[name], expected[name], rtol=1e-5, atol=atol, msg=lambda text, name=name: f"{name}: {text}"
        )


def logged(trainer: OneGenTrainer) -> list[SimpleNamespace]:
    """The entries of training steps."""
    return [SimpleNamespace(**entry) for entry in trainer.state.log_history if "loss" in entry]
