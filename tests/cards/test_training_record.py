"""A training leaves a record of itself, without a path of this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.training_setup import trainer_for

from onegen_hf import OneGenTrainingArguments
from onegen_hf.cards.training_record import base_model_of, changed_options
from onegen_hf.hub.names import hub_id, public_name, public_values


def record(directory: Path) -> dict[str, Any]:
    return json.loads((directory / "training_run.json").read_text())


def test_a_run_is_recorded(base_tokenizer: Any, tmp_path: Path) -> None:
    trainer = trainer_for(base_tokenizer, tmp_path / "run", max_steps=3, per_device_train_batch_size=2)
    trainer.train()
    trainer.save_model()
    found = record(tmp_path / "run")
    assert (found["steps"], found["examples"], found["documents"], found["measured_from_step"]) == (3, 8, 12, 0)
    assert [entry["step"] for entry in found["losses"]] == [1, 3]
    assert all(entry["loss_gen"] > 0 and entry["loss_ret"] > 0 for entry in found["losses"])
    assert found["recipe"]["learning_rate"] == 0.01 and found["recipe"]["max_steps"] == 3
    assert found["recipe"].keys().isdisjoint({"output_dir", "use_cpu", "logging_steps", "seed"})
    assert found["devices"]["number"] == 1 and found["libraries"]["transformers"] and found["base_model"] is None
    assert found["trained_parameters"] == found["parameters"] == sum(p.numel() for p in trainer.model.parameters())
    assert 0 < found["seconds"] < 60 and str(tmp_path) not in json.dumps(found)
    rows_only = 6 * trainer.model.num_parameters(exclude_embeddings=True) * trainer.state.num_input_tokens_seen
    assert found["flops"] > rows_only


def test_time_of_a_resumed_run_adds_up(base_tokenizer: Any, tmp_path: Path) -> None:
    options = {"save_strategy": "steps", "save_steps": 1}
    trainer_for(base_tokenizer, tmp_path, max_steps=2, **options).train()
    checkpoint = tmp_path / "checkpoint-2"
    path = checkpoint / "training_run.json"
    path.write_text(json.dumps({**record(checkpoint), "seconds": 1000.0}))
    resumed = trainer_for(base_tokenizer, tmp_path, max_steps=3, **options)
    resumed.train(resume_from_checkpoint=str(checkpoint))
    resumed.save_model()
    found = record(tmp_path)
    assert 1000 < found["seconds"] < 1060 and found["measured_from_step"] == 0
    assert [entry["step"] for entry in found["losses"]] == [1, 3]

    path.unlink()
    resumed.train(resume_from_checkpoint=str(checkpoint))
    resumed.save_model()
    assert record(tmp_path)["measured_from_step"] == 2 and record(tmp_path)["seconds"] < 60


def test_nothing_is_recorded_of_a_model_that_was_not_trained(base_tokenizer: Any, tmp_path: Path) -> None:
    trainer_for(base_tokenizer, tmp_path).save_model()
    assert (tmp_path / "config.json").is_file() and not (tmp_path / "training_run.json").exists()


def test_only_what_differs_from_the_defaults(tmp_path: Path) -> None:
    assert changed_options(OneGenTrainingArguments(str(tmp_path), use_cpu=True)) == {}
    args = OneGenTrainingArguments(
        str(tmp_path),
        use_cpu=True,
        bpr_negatives="sum",
        lr_scheduler_type="cosine",
        hub_token="hf_secret",
        run_name="a",
    )
    assert changed_options(args) == {"bpr_negatives": "sum", "lr_scheduler_type": "cosine"}


def test_the_base_of_a_model_of_an_earlier_stage(tmp_path: Path) -> None:
    model = type("Model", (), {"name_or_path": str(tmp_path)})()
    assert base_model_of(model) == str(tmp_path)
    (tmp_path / "training_run.json").write_text(json.dumps({"base_model": "org/base"}))
    assert base_model_of(model) == "org/base"


@pytest.mark.parametrize(
    ("name", "public", "repository"),
    [
        ("org/name", "org/name", "org/name"),
        ("/home/me/run", "run", None),
        ("./run", "./run", None),
        ("name", "name", None),
        (None, None, None),
    ],
)
def test_public_names(name: Any, public: Any, repository: Any) -> None:
    assert (public_name(name), hub_id(name)) == (public, repository)


def test_public_values(tmp_path: Path) -> None:
    values = {
        "datasets": [str(tmp_path / "data"), "org/data"],
        "peft": {"path": "/a/b"},
        "lr": 1.0,
        "text": "{a}\n{b}",
    }
    found = public_values(values)
    assert found == {"datasets": ["data", "org/data"], "peft": {"path": "b"}, "lr": 1.0, "text": "{a}\n{b}"}
