"""The model card says what was recorded, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard
from tiny_models import tiny_backbone, tiny_model

from onegen_hf.cards import model_card

TRAINING = {
    "contrastive_loss": "bpr", "bpr_negatives": "sum", "contrastive_scale": None, "lambda_gen": 1.0, "lambda_ret": 0.5,
    "learning_rate": 6e-4, "num_hard_negatives": 2, "seed": 7,
}  # fmt: skip
STATE = {"global_step": 12, "log_history": [{"loss_gen": 0.5, "loss_ret": 0.25, "step": 12}, {"train_runtime": 3.0}]}
RESULTS = {"eval_loss_gen": 0.4, "eval_recall@1": 0.91239, "eval_runtime": 2.0, "epoch": 1.0, "eval_num_passages": 9.0}


@pytest.fixture
def saved(tokenizer: Any, tmp_path: Path) -> Path:
    tiny_model(tokenizer).save_pretrained(tmp_path / "my-model")
    return tmp_path / "my-model"


def test_a_model_about_which_nothing_is_known(saved: Path) -> None:
    text = str(model_card(saved))
    assert "# my-model" in text and "`[RQ]`" in text and 'model="my-model", index="…"' in text
    assert not any(heading in text for heading in ("## Training", "## Evaluation", "model-index", "None", "{{"))


def test_what_was_recorded_is_told(saved: Path) -> None:
    files = {
        "training_args.json": TRAINING, "trainer_state.json": STATE, "eval_results.json": RESULTS,
        "adapter_config.json": {"base_model_name_or_path": "org/base", "r": 32, "lora_alpha": 16},
    }  # fmt: skip
    for name, content in files.items():
        (saved / name).write_text(json.dumps(content))
    card = model_card(saved, datasets=["org/data", str(saved)], repo_id="org/name", notes="## Limits\n\nMany.")
    text = str(card)
    assert "LoRA adapter over `org/base`" in text
    assert "λr = 0.5" in text and "(scale = 20.0, negatives = sum)" in text and "@inproceedings{rendle2009bpr" in text
    assert "| learning rate | 0.0006 |" in text and "| steps | 12 |" in text and "| last loss_ret | 0.25 |" in text
    assert "| recall@1 | 0.9124 |" in text and "runtime" not in text and "num_passages" not in text
    assert "## Limits" in text and "`org/data`, `my-model`" in text
    assert str(saved.parent) not in text  # no path of this machine
    card.save(saved / "README.md")
    data = ModelCard.load(saved / "README.md").data
    assert data.base_model == "org/base" and data.datasets == ["org/data"] and data.library_name == "transformers"
    assert {result.metric_type: result.metric_value for result in data.eval_results} == {
        "loss_gen": 0.4,
        "recall@1": 0.9124,
    }


def test_a_checkpoint_of_something_else(tmp_path: Path) -> None:
    tiny_backbone().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="has no 'onegen' section"):
        model_card(tmp_path)
