"""What `OneGenTrainer` takes beside model and data: `model_init`, a search, functions that it refuses."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset, DatasetDict
from peft import LoraConfig, PeftModel
from support.sample_corpus import DOCUMENTS
from support.tiny_models import tiny_model
from support.training_setup import PLAIN_SGD, QUIET, assert_same_weights, dataset, logged, trainer_for, weights
from transformers.trainer_utils import HPSearchBackend

from onegen_hf import OneGenTrainer, OneGenTrainingArguments


def test_a_model_made_anew_for_each_training(base_tokenizer: Any, tmp_path: Path) -> None:
    tokenizer = copy.deepcopy(base_tokenizer)
    made: list[Any] = []

    def model_init() -> Any:
        made.append(tiny_model(tokenizer, seed=1))
        return made[-1]

    args = OneGenTrainingArguments(str(tmp_path), **PLAIN_SGD, lambda_ret=0.5)
    trainer = OneGenTrainer(
        None, args, dataset(), documents=DOCUMENTS, processing_class=tokenizer, model_init=model_init
    )
    trainer.train()
    first, expected = weights(trainer.model), trainer_for(base_tokenizer, tmp_path, lambda_ret=0.5)
    expected.train()
    assert_same_weights(first, weights(expected.model))
    trainer.train()
    assert len(made) == 3 and trainer.model is made[-1]  # one for the tokens and settings, and one per training
    assert_same_weights(weights(trainer.model), first)


def test_a_search_sets_the_objective_of_each_trial(base_tokenizer: Any, tmp_path: Path) -> None:
    tokenizer = copy.deepcopy(base_tokenizer)
    args = OneGenTrainingArguments(str(tmp_path), **PLAIN_SGD)
    trainer = OneGenTrainer(
        None, args, dataset(), documents=DOCUMENTS, processing_class=tokenizer, peft_config=LoraConfig(r=2),
        model_init=lambda trial: tiny_model(tokenizer, seed=1),
    )  # fmt: skip
    trainer.hp_search_backend = HPSearchBackend.RAY  # its trials are dictionaries
    for weight in (0.25, 3.0):
        trainer._hp_search_setup({"lambda_ret": weight, "contrastive_scale": 7.0})
        assert trainer.model.get_base_model().lambda_ret == weight
        trainer.train()
        assert isinstance(trainer.model, PeftModel)
        joint = trainer.model.get_base_model()
        assert joint.lambda_ret == weight and joint.contrastive_loss.scale == 7.0
        entry = logged(trainer)[-1]
        assert entry.loss == pytest.approx(entry.loss_gen + weight * entry.loss_ret, rel=1e-3)


@pytest.mark.parametrize("name", ["compute_metrics", "preprocess_logits_for_metrics", "compute_loss_func"])
def test_functions_never_called_are_refused(name: str, model: Any, tokenizer: Any, tmp_path: Path) -> None:
    args = OneGenTrainingArguments(str(tmp_path), **QUIET)
    with pytest.raises(ValueError, match=f"{name} would not be called: the loss is the model's"):
        OneGenTrainer(
            model, args, dataset(), documents=DOCUMENTS, processing_class=tokenizer, **{name: lambda *given: {}}
        )


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (lambda: DatasetDict(train=dataset(), dev=dataset()), TypeError, r"keys \['dev', 'train'\]: give one split"),
        (lambda: dataset().to_pandas(), TypeError, "train_dataset is a DataFrame: give rows"),
        (lambda: "org/corpus", TypeError, "train_dataset is a str: give rows"),
        (lambda: Dataset.from_list(DOCUMENTS), ValueError, "no `messages`: give rows .* passages go into `documents`"),
        (lambda: dataset([]), ValueError, "train_dataset has no examples: choose another split"),
        (lambda: 5, TypeError, "train_dataset=5 is a int: give rows of the `examples` configuration"),
    ],
    ids=["splits", "data frame", "name", "passages", "empty", "number"],
)
def test_what_is_no_training_data(
    given: Any, error: type[Exception], message: str, model: Any, tokenizer: Any, tmp_path: Path
) -> None:
    args = OneGenTrainingArguments(str(tmp_path), **QUIET)
    with pytest.raises(error, match=message):
        OneGenTrainer(model, args, given(), documents=DOCUMENTS, processing_class=tokenizer)
