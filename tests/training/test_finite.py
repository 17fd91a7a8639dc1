"""A training that can learn nothing, or whose numbers are none any more, stops before it saves anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.training_setup import trainer_for
from transformers import TrainerCallback

from onegen_hf.losses import BPRLoss, InfoNCELoss
from onegen_hf.training.finite import trained_weights


class Spoil(TrainerCallback):
    """Makes a weight NaN at the beginning, or at the end, of a step."""

    def __init__(self, step: int, at_end: bool = False) -> None:
        self.step, self.at_end = step, at_end

    def on_step_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        if state.global_step + 1 == self.step and not self.at_end:
            self.spoil(model)

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        if state.global_step == self.step and self.at_end:
            self.spoil(model)

    def spoil(self, model: Any) -> None:
        with torch.no_grad():
            model.model.norm.weight[0] = torch.nan


@pytest.mark.parametrize("filter_log", [True, False])
def test_a_loss_that_is_none_stops_with_the_step_and_the_checkpoint(
    filter_log: bool, base_tokenizer: Any, tmp_path: Path
) -> None:
    trainer = trainer_for(
        base_tokenizer, tmp_path, max_steps=6, save_strategy="steps", save_steps=1, logging_nan_inf_filter=filter_log,
        callbacks=[Spoil(4)],
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"the loss is nan at step 4.*last whole checkpoint is .*checkpoint-3; lower"):
        trainer.train()
    assert [entry["step"] for entry in trainer.state.log_history if "loss" in entry] == [1, 2, 3]
    assert sorted(folder.name for folder in tmp_path.glob("checkpoint-*")) == [f"checkpoint-{n}" for n in (1, 2, 3)]


def test_before_the_first_checkpoint(base_tokenizer: Any, tmp_path: Path) -> None:
    trainer = trainer_for(base_tokenizer, tmp_path, max_steps=2, callbacks=[Spoil(1)])
    with pytest.raises(ValueError, match="the loss is nan at step 1.*There is no whole checkpoint yet"):
        trainer.train()


def test_weights_that_are_none_are_not_saved(base_tokenizer: Any, tmp_path: Path) -> None:
    trainer = trainer_for(
        base_tokenizer, tmp_path, max_steps=3, save_strategy="steps", save_steps=1, callbacks=[Spoil(2, at_end=True)]
    )
    message = r"model.norm.weight holds NaN or infinity after step 2: it is not saved. .*checkpoint-1"
    with pytest.raises(ValueError, match=message):
        trainer.train()
    assert not (tmp_path / "checkpoint-2").exists()


def test_frozen_weights_are_not_asked(base_tokenizer: Any, tmp_path: Path) -> None:
    """Weights of 4 bits that are stored as floats, as FSDP shards them, are no numbers."""
    model = trainer_for(base_tokenizer, tmp_path).model
    model.lm_head.weight.requires_grad_(False)
    state = {name: torch.full_like(value, torch.nan) for name, value in model.state_dict().items()}
    assert set(trained_weights(model, state)) == set(state) - {"lm_head.weight", "model.embed_tokens.weight"}
    assert all(value.isnan().all() for value in trained_weights(model, state).values())


@pytest.mark.parametrize("lengths", [2, 4])
def test_a_training_set_without_a_label_is_refused(lengths: int, base_tokenizer: Any, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=f"none of the 8 training examples has a token to predict.*max_length={lengths}"
    ):
        trainer_for(base_tokenizer, tmp_path, max_length=lengths)


def test_a_training_set_without_a_positive_is_refused_where_only_retrieval_counts(
    base_tokenizer: Any, tmp_path: Path
) -> None:
    trainer_for(base_tokenizer, tmp_path, [3, 6])
    with pytest.raises(ValueError, match="none of the 2 training examples has a query token with a positive"):
        trainer_for(base_tokenizer, tmp_path, [3, 6], lambda_gen=0.0)


@pytest.mark.parametrize("scale", [float("nan"), float("inf"), 0, -1.0])
@pytest.mark.parametrize("loss", [BPRLoss, InfoNCELoss])
def test_scales_that_are_none(loss: Any, scale: float) -> None:
    with pytest.raises(ValueError, match=f"scale={scale} must be (above 0|a finite number)"):
        loss(scale)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lambda_ret": float("nan")}, "lambda_ret=nan must be a finite number"),
        ({"lambda_gen": -1}, "lambda_gen=-1 must be at least 0"),
        ({"name": "triplet"}, "name='triplet' is unknown: choose one of 'bpr', 'info_nce'"),
        ({"scale": float("inf")}, "scale=inf must be a finite number"),
        ({"negatives": "max"}, "negatives='max' is unknown: choose one of 'mean', 'sum'"),
    ],
)
def test_an_objective_that_is_none(options: dict[str, Any], message: str, model: Any) -> None:
    with pytest.raises(ValueError, match=message):
        model.set_loss(**options)
